//! Reads the fields of a protobuf message, without nested messages ("Encoding", protobuf.dev). Pure.

/// A field of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u64,
    pub value: Value<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    /// A message, a string, or any other value with a length.
    Bytes(&'a [u8]),
    /// A value of four or eight bytes. The value itself is not needed.
    Fixed,
}

/// The bytes are no message, or end inside a field.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Removes the first field from a message, and returns it. `None` at the end of the message.
///
/// # Errors
/// The bytes do not begin with a complete field. A group counts as malformed, because OTLP has no groups.
pub fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<Field<'a>>, Malformed> {
    if message.is_empty() {
        return Ok(None);
    }
    let tag = varint(message)?;
    let (number, wire_type) = (tag >> 3, tag & 7);
    let value = match wire_type {
        0 => Value::Varint(varint(message)?),
        1 => take(message, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = varint(message)?;
            Value::Bytes(take(message, usize::try_from(length).map_err(|_| Malformed)?)?)
        }
        5 => take(message, 4).map(|_| Value::Fixed)?,
        _ => return Err(Malformed),
    };
    if number == 0 { Err(Malformed) } else { Ok(Some(Field { number, value })) }
}

/// Whether the bytes are a sequence of complete fields.
pub fn is_message(mut bytes: &[u8]) -> bool {
    loop {
        match next_field(&mut bytes) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(Malformed) => return false,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    const BYTES_MAX: usize = 10;
    let mut value = 0;
    for nth in 0..BYTES_MAX {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn fields(mut message: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
        let mut fields = Vec::new();
        while let Some(field) = next_field(&mut message)? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn each_kind_of_field_is_read() {
        let message = b"\x08\x96\x01\x12\x02hi\x19fixed-64\x25fixd";
        let expected = [
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed),
            (4, Value::Fixed),
        ];
        let expected = expected.map(|(number, value)| Field { number, value });
        assert_eq!(fields(message), Ok(Vec::from(expected)));
        assert_eq!(fields(b""), Ok(vec![]));
    }

    #[test]
    fn bytes_that_are_no_complete_field_are_malformed() {
        let endless = [b"\x08", [0x80; 11].as_slice()].concat();
        for bytes in [
            b"\x08".as_slice(),
            b"\x0a\x05half",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b\x0c",
            b"\x00\x00",
            b"\x0d123",
            &endless,
        ] {
            assert!(!is_message(bytes), "{bytes:x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }

        #[test]
        fn a_message_that_ends_inside_a_field_is_malformed(parts in vec(vec(any::<u8>(), 0..300), 1..5)) {
            use local_lambda::prost::encoding::bytes;
            let (mut message, mut ends) = (Vec::new(), vec![0]);
            for part in &parts {
                bytes::encode(1, part, &mut message);
                ends.push(message.len());
            }
            for end in 0..=message.len() {
                prop_assert_eq!(is_message(&message[..end]), ends.contains(&end));
            }
        }
    }
}
