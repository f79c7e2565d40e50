//! Any Corefile becomes settings that are read as they were written, or is told about; and any settings are
//! read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::forwarding::Forwarding;
use model::forwarding::corefile::convert;

fuzz_target!(|text: &str| {
    // Whatever it imports is itself.
    let mut find = |_: &str| vec![("again".to_owned(), text.to_owned())];
    let converted = convert("Corefile", text, &mut find);
    let written = converted.settings.to_string();
    assert_eq!(written.parse(), Ok(converted.settings), "{written}");
    if let Ok(settings) = text.parse::<Forwarding>() {
        assert_eq!(settings.to_string().parse(), Ok(settings));
    }
});
