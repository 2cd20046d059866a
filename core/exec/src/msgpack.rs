//! The little of MessagePack that the frames need (<https://github.com/msgpack/msgpack/blob/master/spec.md>).
//!
//! Numbers are big-endian. Extension types are refused: no frame has any.

/// Deeper nesting than any frame has; it bounds the recursion of the decoder.
const MAX_DEPTH: u8 = 8;

/// One decoded value, borrowing from the frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A `str` or a `bin`: readers of frames do not care which.
    Bytes(&'a [u8]),
    Array(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The value under a string key of a map.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let Value::Map(pairs) = self else { return None };
        let wanted = Value::Bytes(key.as_bytes());
        pairs.iter().find(|(k, _)| *k == wanted).map(|(_, v)| v)
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "only seconds are read as numbers")]
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Decodes exactly one value that fills `data`; `None` if it is not that.
pub fn decode(data: &[u8]) -> Option<Value<'_>> {
    let mut reader = Reader { rest: data };
    let value = reader.value(MAX_DEPTH)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// An unsigned number of 1, 2, 4 or 8 bytes.
    fn unsigned(&mut self, width: usize) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.unsigned(width)?).ok()
    }

    fn bytes(&mut self, n: usize) -> Option<Value<'a>> {
        self.take(n).map(Value::Bytes)
    }

    fn sequence(&mut self, n: usize, depth: u8) -> Option<Value<'a>> {
        // Every item takes a byte at least: a length beyond the rest is a lie, and must not allocate.
        let mut items = Vec::with_capacity(n.min(self.rest.len()));
        for _ in 0..n {
            items.push(self.value(depth)?);
        }
        Some(Value::Array(items))
    }

    fn map(&mut self, n: usize, depth: u8) -> Option<Value<'a>> {
        let mut pairs = Vec::with_capacity(n.min(self.rest.len() / 2));
        for _ in 0..n {
            pairs.push((self.value(depth)?, self.value(depth)?));
        }
        Some(Value::Map(pairs))
    }

    fn value(&mut self, depth: u8) -> Option<Value<'a>> {
        let deeper = depth.checked_sub(1)?;
        let tag = self.array::<1>()?[0];
        match tag {
            0x00..=0x7f => Some(Value::Int(i64::from(tag))),
            0x80..=0x8f => self.map(usize::from(tag & 0x0f), deeper),
            0x90..=0x9f => self.sequence(usize::from(tag & 0x0f), deeper),
            0xa0..=0xbf => self.bytes(usize::from(tag & 0x1f)),
            0xc0 => Some(Value::Nil),
            0xc2 | 0xc3 => Some(Value::Bool(tag == 0xc3)),
            0xc4..=0xc6 => self.length(1 << (tag - 0xc4)).and_then(|n| self.bytes(n)),
            0xca => self.array().map(|b| Value::Float(f64::from(f32::from_be_bytes(b)))),
            0xcb => self.array().map(|b| Value::Float(f64::from_be_bytes(b))),
            0xcc..=0xcf => i64::try_from(self.unsigned(1 << (tag - 0xcc))?).ok().map(Value::Int),
            0xd0 => self.array().map(|b| Value::Int(i64::from(i8::from_be_bytes(b)))),
            0xd1 => self.array().map(|b| Value::Int(i64::from(i16::from_be_bytes(b)))),
            0xd2 => self.array().map(|b| Value::Int(i64::from(i32::from_be_bytes(b)))),
            0xd3 => self.array().map(|b| Value::Int(i64::from_be_bytes(b))),
            0xd9..=0xdb => self.length(1 << (tag - 0xd9)).and_then(|n| self.bytes(n)),
            0xdc | 0xdd => self.length(2 << (tag - 0xdc)).and_then(|n| self.sequence(n, deeper)),
            0xde | 0xdf => self.length(2 << (tag - 0xde)).and_then(|n| self.map(n, deeper)),
            0xe0..=0xff => Some(Value::Int(i64::from(tag) - 256)),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => None,
        }
    }
}

/// Appends values to a buffer. Containers are announced first, then their items are written.
#[derive(Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.header(0xdf, pairs)
    }

    pub fn array(&mut self, items: usize) -> &mut Self {
        self.header(0xdd, items)
    }

    pub fn str(&mut self, text: &str) -> &mut Self {
        self.header(0xdb, text.len());
        self.buffer.extend_from_slice(text.as_bytes());
        self
    }

    pub fn bin(&mut self, bytes: &[u8]) -> &mut Self {
        self.header(0xc6, bytes.len());
        self.buffer.extend_from_slice(bytes);
        self
    }

    pub fn int(&mut self, n: i64) -> &mut Self {
        self.buffer.push(0xd3);
        self.buffer.extend_from_slice(&n.to_be_bytes());
        self
    }

    pub fn float(&mut self, x: f64) -> &mut Self {
        self.buffer.push(0xcb);
        self.buffer.extend_from_slice(&x.to_be_bytes());
        self
    }

    /// Always the 32-bit form: a few bytes more, one form less.
    fn header(&mut self, tag: u8, length: usize) -> &mut Self {
        let length = u32::try_from(length).expect("a frame is bounded far below 4 GiB");
        self.buffer.push(tag);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let mut writer = Writer::default();
        writer.map(4).str("i").int(-3).str("f").float(0.5).str("b").bin(b"\xff\x00");
        writer.str("a").array(2).int(i64::MAX).str("é");
        let bytes = writer.into_bytes();
        let value = decode(&bytes).unwrap();
        assert_eq!(value.get("i").unwrap().as_int(), Some(-3));
        assert_eq!(value.get("f").unwrap().as_number(), Some(0.5));
        assert_eq!(value.get("b").unwrap().as_bytes(), Some(&b"\xff\x00"[..]));
        let items = vec![Value::Int(i64::MAX), Value::Bytes("é".as_bytes())];
        assert_eq!(value.get("a"), Some(&Value::Array(items)));
        assert_eq!(value.get("none"), None);
    }

    #[test]
    fn reads_the_short_forms_of_other_encoders() {
        // {"v": 1, "exit": 256, "n": nil, "t": true, "x": -1, "y": uint8 200, "z": bin8 "q", "f": float32 1}
        let data = b"\x88\xa1v\x01\xa4exit\xcd\x01\x00\xa1n\xc0\xa1t\xc3\xa1x\xff\xa1y\xcc\xc8\
            \xa1z\xc4\x01q\xa1f\xca\x3f\x80\x00\x00";
        let value = decode(data).unwrap();
        let int = |key: &str| value.get(key).unwrap().as_int();
        assert_eq!(
            (int("v"), int("exit"), int("x"), int("y")),
            (Some(1), Some(256), Some(-1), Some(200))
        );
        assert_eq!(value.get("n"), Some(&Value::Nil));
        assert_eq!(value.get("t"), Some(&Value::Bool(true)));
        assert_eq!(value.get("z").unwrap().as_bytes(), Some(&b"q"[..]));
        assert_eq!(value.get("f").unwrap().as_number(), Some(1.0));
    }

    #[test]
    fn refuses_what_is_cut_deep_false_or_followed_by_more() {
        let mut writer = Writer::default();
        writer.map(2).str("key").bin(b"value").str("list").array(1).float(1.0);
        let whole = writer.into_bytes();
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode(&[&whole[..], b"\x00"].concat()), None);
        assert_eq!(decode(&[0x91; 100]), None);
        assert_eq!(decode(b"\xdd\xff\xff\xff\xff"), None);
        assert_eq!(decode(b"\xdf\xff\xff\xff\xff\x01"), None);
        assert_eq!(decode(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(decode(b"\xc1"), None);
        assert_eq!(decode(b"\xd4\x00\x00"), None);
    }
}
