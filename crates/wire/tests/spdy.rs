//! SPDY frames are read as they were written, however the connection cuts them.

use proptest::prelude::*;
use seaway_wire::spdy::{Decoder, Encoder, Error, Frame, Headers, LONGEST_DATA};

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::btree_map("[a-z-]{1,12}", "[ -~]{0,40}", 0..5)
}

fn frame() -> impl Strategy<Value = Frame> {
    let id = 1..0x8000_0000_u32;
    prop_oneof![
        (id.clone(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::SynStream {
            id,
            fin,
            headers
        }),
        (id.clone(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::SynReply {
            id,
            fin,
            headers
        }),
        (id.clone(), any::<bool>(), headers()).prop_map(|(id, fin, headers)| Frame::Headers {
            id,
            fin,
            headers
        }),
        (id.clone(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(id, fin, bytes)| Frame::Data { id, fin, bytes }),
        (id.clone(), 1..12_u32).prop_map(|(id, status)| Frame::RstStream { id, status }),
        any::<u32>().prop_map(Frame::Ping),
        id.prop_map(Frame::GoAway),
    ]
}

fn read(pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<Vec<Frame>, Error> {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// Joins the parts in which one data frame came.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut whole: Vec<Frame> = Vec::new();
    for frame in frames {
        if let (
            Some(Frame::Data { id: last, fin: ended, bytes: so_far }),
            Frame::Data { id, fin, bytes },
        ) = (whole.last_mut(), &frame)
            && last == id
            && !*ended
        {
            so_far.extend_from_slice(bytes);
            *ended = *fin;
            continue;
        }
        whole.push(frame);
    }
    whole
}

proptest! {
    #[test]
    fn frames_are_read_as_written_however_they_are_cut(
        frames in proptest::collection::vec(frame(), 0..12),
        cut in 1..50_usize,
    ) {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        frames.iter().for_each(|frame| encoder.write(frame, &mut bytes));
        let read = read(&mut bytes.chunks(cut)).unwrap();
        prop_assert_eq!(joined(read), joined(frames));
    }

    #[test]
    fn nonsense_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(read(&mut bytes.chunks(7)));
    }
}

#[test]
fn a_long_data_frame_comes_in_parts_and_the_last_one_ends_it() {
    let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
    let long = Frame::Data { id: 5, fin: true, bytes: vec![7; 3 * LONGEST_DATA + 1] };
    encoder.write(&long, &mut bytes);
    let frames = read(&mut bytes.chunks(bytes.len())).unwrap();
    assert_eq!(frames.len(), 4);
    assert_eq!(joined(frames), [long]);
}

#[test]
fn what_is_not_spdy_is_refused() {
    let cases: [(&[u8], Error); 5] = [
        (b"\x80\x02\0\x01\0\0\0\0", Error::Version(2)),
        (b"\x80\x03\0\x01\0\xff\xff\xff", Error::TooLong(0xff_ffff)),
        (b"\x80\x03\0\x03\0\0\0\x04\0\0\0\x01", Error::TooShort(3)),
        (b"\0\0\0\0\0\0\0\x01x", Error::NoStream),
        (b"\x80\x03\0\x02\0\0\0\x08\0\0\0\x01junk", Error::Headers),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(&mut std::iter::once(bytes)), Err(error));
    }
    // Windows and settings are of no concern here, and what is not known is passed over.
    let other = b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\0\x01";
    assert_eq!(read(&mut std::iter::once(&other[..])), Ok(vec![Frame::Other]));
}
