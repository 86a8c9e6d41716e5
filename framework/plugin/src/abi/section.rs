//! The `.byoc` section: what a plugin says of itself to those who do not run it.
//!
//! Layout, little-endian: magic (8 bytes), epoch, minor, lengths of name, version and table, one reserved word (six
//! `u32`), then the three texts, each followed by a zero byte.

/// The section's name in the library.
pub const NAME: &str = ".byoc";
pub const MAGIC: [u8; 8] = *b"BYOC\x00\x01\r\n";
/// How many bytes come before the texts.
pub const HEADER: usize = 32;

/// What the section says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub epoch: u32,
    pub minor: u32,
    pub name: String,
    pub version: String,
    pub pattern_table: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plugin's {NAME} section is damaged: {0}")]
pub struct SectionError(&'static str);

/// How long the section of these texts is.
pub const fn encoded_len(name: &str, version: &str, table: &str) -> usize {
    HEADER + name.len() + version.len() + table.len() + 3
}

/// The section's bytes; `N` is its [`encoded_len`].
pub const fn encode<const N: usize>(name: &str, version: &str, table: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = put(&mut bytes, 0, &MAGIC);
    let words = [super::EPOCH, super::MINOR, name.len() as u32, version.len() as u32, table.len() as u32, 0];
    let mut i = 0;
    while i < words.len() {
        at = put(&mut bytes, at, &words[i].to_le_bytes());
        i += 1;
    }
    at = put(&mut bytes, at, name.as_bytes()) + 1;
    at = put(&mut bytes, at, version.as_bytes()) + 1;
    put(&mut bytes, at, table.as_bytes());
    bytes
}

const fn put(bytes: &mut [u8], at: usize, content: &[u8]) -> usize {
    let mut i = 0;
    while i < content.len() {
        bytes[at + i] = content[i];
        i += 1;
    }
    at + content.len()
}

impl Section {
    /// Reads a section's bytes; more may follow them.
    pub fn decode(bytes: &[u8]) -> Result<Self, SectionError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(SectionError("it does not begin with the magic bytes"));
        }
        let word = |index: usize| {
            let at = MAGIC.len() + 4 * index;
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map(u32::from_le_bytes).ok_or(SectionError("it ends within its header"))
        };
        let mut rest = bytes.get(HEADER..).ok_or(SectionError("it ends within its header"))?;
        let mut text = |index: usize| {
            let length = word(index)? as usize;
            let end = length.checked_add(1).ok_or(SectionError("a length overflows"))?;
            let (text, tail) = rest.split_at_checked(end).ok_or(SectionError("it ends within a text"))?;
            rest = tail;
            std::str::from_utf8(&text[..length])
                .map(str::to_owned)
                .map_err(|_| SectionError("a text is not UTF-8"))
        };
        let (name, version, pattern_table) = (text(2)?, text(3)?, text(4)?);
        Ok(Section { epoch: word(0)?, minor: word(1)?, name, version, pattern_table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODED: [u8; encoded_len("acme", "1.2", "[vendor]")] = encode("acme", "1.2", "[vendor]");

    #[test]
    fn a_section_is_read_back() {
        let section = Section::decode(&[&ENCODED[..], b"more"].concat()).unwrap();
        assert_eq!((section.name.as_str(), section.version.as_str()), ("acme", "1.2"));
        assert_eq!((section.epoch, section.minor), (super::super::EPOCH, super::super::MINOR));
        assert_eq!(section.pattern_table, "[vendor]");
    }

    #[test]
    fn damage_is_an_error() {
        for length in 0..ENCODED.len() {
            assert!(Section::decode(&ENCODED[..length]).is_err(), "{length}");
        }
        for (at, byte) in [(0, b'X'), (16, 0xff), (19, 0xff), (HEADER, 0xff)] {
            let mut damaged = ENCODED;
            damaged[at] = byte;
            assert!(Section::decode(&damaged).is_err(), "{at}");
        }
    }
}
