//! Whatever a client of a pod's ports sends is read as SPDY or refused; what is read is the same again
//! when it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::spdy::{Decoder, Encoder, Frame};

fuzz_target!(|bytes: &[u8]| {
    let frames = read(bytes);
    let (mut encoder, mut written) = (Encoder::default(), Vec::new());
    frames.iter().for_each(|frame| encoder.write(frame, &mut written));
    let known = frames.into_iter().filter(|frame| *frame != Frame::Other);
    assert_eq!(read(&written), known.collect::<Vec<_>>());
});

/// The frames up to the first mistake.
fn read(bytes: &[u8]) -> Vec<Frame> {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for piece in bytes.chunks(1000) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            frames.push(frame);
        }
    }
    frames
}
