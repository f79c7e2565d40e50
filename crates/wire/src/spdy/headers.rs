//! Header blocks: names and values with their lengths, compressed as one stream per direction.

use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

use super::dictionary::dictionary;
use super::{Error, Headers};

/// Longest header block that is read, in bytes, decompressed.
const LONGEST: usize = 64 * 1024;
/// Most stored bytes in one block of a compressed stream (RFC 1951 §3.2.4).
const LONGEST_STORED: usize = 0xffff;

/// Reads the header blocks of one direction, in their order.
pub(super) struct Reader(Inflate);

impl Reader {
    pub(super) fn new() -> Self {
        Self(Inflate::new(true, 15))
    }

    /// The headers in a compressed block.
    ///
    /// # Errors
    /// [`Error::Headers`]; no later block can be read then.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, Error> {
        parse(&self.inflate(block)?).ok_or(Error::Headers)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Error> {
        let mut text = vec![0; LONGEST + 1];
        let mut filled = 0;
        loop {
            let before = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress(block, &mut text[filled..], InflateFlush::SyncFlush);
            let steps = |now: u64, before: u64| usize::try_from(now - before);
            let read = steps(self.0.total_in(), before.0).map_err(|_| Error::Headers)?;
            let written = steps(self.0.total_out(), before.1).map_err(|_| Error::Headers)?;
            block = &block[read..];
            filled += written;
            match result {
                Err(InflateError::NeedDict { .. }) => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| Error::Headers)?;
                }
                Ok(Status::Ok | Status::BufError) if filled > LONGEST => {
                    return Err(Error::Headers);
                }
                Ok(Status::Ok | Status::BufError) if block.is_empty() => {
                    text.truncate(filled);
                    return Ok(text);
                }
                Ok(Status::Ok) if read + written > 0 => {}
                Ok(_) | Err(_) => return Err(Error::Headers),
            }
        }
    }
}

/// Reads a decompressed block; `None` if it isn't one.
fn parse(mut text: &[u8]) -> Option<Headers> {
    let word = |text: &mut &[u8]| -> Option<String> {
        let length = usize::try_from(number(text)?).ok()?;
        let (word, rest) = text.split_at_checked(length)?;
        *text = rest;
        Some(String::from_utf8_lossy(word).into_owned())
    };
    let count = number(&mut text)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value) = (word(&mut text)?, word(&mut text)?);
        headers.insert(name.to_lowercase(), value);
    }
    Some(headers)
}

fn number(text: &mut &[u8]) -> Option<u32> {
    let (number, rest) = text.split_first_chunk::<4>()?;
    *text = rest;
    Some(u32::from_be_bytes(*number))
}

/// Writes the header blocks of one direction. They are not made smaller: what this side says in
/// headers is next to nothing, so each is stored as it is in the compressed stream.
#[derive(Debug, Default)]
pub(super) struct Writer {
    has_begun: bool,
}

impl Writer {
    /// Appends the block of `headers` to `out`.
    pub(super) fn write(&mut self, headers: &Headers, out: &mut Vec<u8>) {
        if !self.has_begun {
            // RFC 1950 §2.2: deflate with a window of 32 KiB, no dictionary.
            out.extend_from_slice(&[0x78, 0x01]);
            self.has_begun = true;
        }
        for piece in print(headers).chunks(LONGEST_STORED) {
            stored(piece, out);
        }
        // What a compressor writes when it is flushed, so that the other end reads to here.
        stored(&[], out);
    }
}

/// One block of RFC 1951 §3.2.4 that isn't the last.
fn stored(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).expect("a piece is at most 65535 bytes long");
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn print(headers: &Headers) -> Vec<u8> {
    let mut text = Vec::new();
    let number = |text: &mut Vec<u8>, number: usize| {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        text.extend_from_slice(&number.to_be_bytes());
    };
    number(&mut text, headers.len());
    for (name, value) in headers {
        for word in [name, value] {
            number(&mut text, word.len());
            text.extend_from_slice(word.as_bytes());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use zlib_rs::{Deflate, DeflateFlush};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A block as clients write it: compressed against the dictionary, and flushed.
    fn compress(deflate: &mut Deflate, headers: &Headers) -> Vec<u8> {
        let (mut out, before) = (vec![0; 4096], deflate.total_out());
        deflate.compress(&print(headers), &mut out, DeflateFlush::SyncFlush).unwrap();
        out.truncate(usize::try_from(deflate.total_out() - before).unwrap());
        out
    }

    #[test]
    fn blocks_of_a_compressor_are_read_one_after_the_other() {
        let mut deflate = Deflate::new(9, true, 15);
        deflate.set_dictionary(&dictionary()).unwrap();
        let mut reader = Reader::new();
        for pairs in [
            &[("streamtype", "error"), ("port", "8080"), ("requestid", "0")][..],
            &[("streamtype", "data"), ("port", "8080"), ("requestid", "0")],
            &[],
        ] {
            let block = compress(&mut deflate, &headers(pairs));
            assert_eq!(reader.read(&block), Ok(headers(pairs)));
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (mut writer, mut reader) = (Writer::default(), Reader::new());
        for pairs in [&[][..], &[("a", "b")], &[("Long", &"x".repeat(60_000))]] {
            let mut block = Vec::new();
            writer.write(&headers(pairs), &mut block);
            let lower =
                pairs.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned()));
            assert_eq!(reader.read(&block), Ok(lower.collect()));
        }
    }

    #[test]
    fn a_block_that_would_take_too_much_memory_is_refused() {
        let mut deflate = Deflate::new(9, true, 15);
        let bomb = compress(&mut deflate, &headers(&[("a", &"x".repeat(LONGEST))]));
        assert_eq!(Reader::new().read(&bomb), Err(Error::Headers));
        assert_eq!(Reader::new().read(b"nonsense"), Err(Error::Headers));
        assert_eq!(parse(&[255; 8]), None);
    }
}
