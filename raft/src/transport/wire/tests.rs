use proptest::prelude::*;

use super::samples::samples;
use super::*;

const LIMIT: usize = 1 << 20;

/// What records of version 1 look like, for ever: another node's binary may be older or newer than this one.
const FIXTURES: &str = include_str!("version_1.txt");

fn encode(message: &Message) -> Bytes {
    match message {
        Message::Envelope(envelope) => encode_envelope(envelope),
        Message::Answer(answer) => encode_answer(answer),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_kind_of_message_comes_back_as_it_was() {
    for (name, message) in samples() {
        let decoded = decode(&encode(&message), LIMIT).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{message:?}"), "{name}");
    }
}

#[test]
fn records_look_as_they_always_did_and_old_ones_can_be_read() {
    let now: Vec<_> = samples().iter().map(|(name, message)| format!("{name} {}", hex(&encode(message)))).collect();
    let fixtures: Vec<_> = FIXTURES.lines().collect();
    assert!(now == fixtures, "the encoding has changed; it is now:\n{}", now.join("\n"));
    for ((name, message), line) in samples().iter().zip(&fixtures) {
        let record = unhex(line.split_once(' ').unwrap().1);
        assert_eq!(format!("{:?}", decode(&record, LIMIT).unwrap()), format!("{message:?}"), "{name}");
    }
}

#[test]
fn every_flipped_bit_of_every_message_is_noticed() {
    for (name, message) in samples() {
        let record = encode(&message);
        for bit in 0..record.len() * 8 {
            let mut damaged = record.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, LIMIT).is_err(), "{name}: bit {bit}");
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    for (name, message) in samples() {
        let record = encode(&message);
        for end in 0..record.len() {
            assert!(decode(&record[..end], LIMIT).is_err(), "{name}: cut to {end} bytes");
        }
        assert!(decode(&[&record[..], &[0]].concat(), LIMIT).is_err(), "{name}: a byte too many");
    }
}

#[test]
fn an_error_says_what_is_wrong() {
    let record = encode(&samples()[0].1);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = record.to_vec();
        change(&mut changed);
        decode(&changed, LIMIT).unwrap_err()
    };
    assert_eq!(decode(&[], LIMIT).unwrap_err(), WireError::TooShort(0));
    let (bytes, limit) = (record.len(), record.len() - 1);
    assert_eq!(decode(&record, limit).unwrap_err(), WireError::TooLarge { bytes, limit });
    assert_eq!(with(&|record| record[0] = 2), WireError::UnknownVersion(2));
    assert!(matches!(with(&|record| record[9] ^= 1), WireError::Damaged { .. }));
    // Whole, as the checksum says, and still not to be understood.
    let whole = |kind: u8, body: &[u8]| {
        let checksum = checksum_of(VERSION, kind, body).to_le_bytes();
        decode(&[&[VERSION, kind], &checksum[..], body].concat(), LIMIT).unwrap_err()
    };
    assert_eq!(whole(3, b""), WireError::UnknownKind(3));
    assert!(matches!(whole(2, b""), WireError::Malformed(_)));
    assert_eq!(whole(2, &[1, 1, 8, 0, 1, 0]), WireError::Malformed("1 bytes too many".into()));
}

proptest! {
    #[test]
    fn no_input_makes_decoding_panic(kind in 0u8..4, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, LIMIT);
        let checksum = checksum_of(VERSION, kind, &body).to_le_bytes();
        let _ = decode(&[&[VERSION, kind], &checksum[..], &body].concat(), LIMIT);
    }
}
