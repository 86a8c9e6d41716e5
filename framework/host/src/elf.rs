//! What an ELF file says of itself, without running any of it. Offsets and sizes are the file's word: all are checked.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// No section that is read here is larger.
const MOST: u64 = 64 << 20;
const SHT_STRTAB: u32 = 3;
const ET_DYN: u16 = 3;

/// What a plugin's library must have.
pub(crate) struct Contents {
    /// The bytes of the section that was asked for.
    pub section: Option<Vec<u8>>,
    /// The symbol occurs among the names of the dynamic symbols.
    pub has_symbol: bool,
}

#[derive(Debug)]
pub(crate) enum ElfError {
    Io(io::Error),
    NotALibrary(&'static str),
    Architecture(String),
}

impl From<io::Error> for ElfError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ElfError::NotALibrary("the file ends too early"),
            _ => ElfError::Io(error),
        }
    }
}

/// One row of the section table.
struct Section {
    name: u32,
    kind: u32,
    offset: u64,
    size: u64,
}

/// Looks for a section and a dynamic symbol's name in a 64-bit little-endian shared library for this machine.
pub(crate) fn inspect(file: &mut File, section: &str, symbol: &str) -> Result<Contents, ElfError> {
    let header = read_at(file, 0, 64)?;
    if header[..4] != *b"\x7fELF" {
        return Err(ElfError::NotALibrary("it has no ELF header"));
    }
    if header[4..6] != [2, 1] {
        return Err(ElfError::Architecture("a 32-bit or big-endian machine".to_owned()));
    }
    check_machine(u16_at(&header, 18))?;
    if u16_at(&header, 16) != ET_DYN {
        return Err(ElfError::NotALibrary("it is an object file or a program"));
    }
    let sections = section_table(file, &header)?;
    let names = sections.get(usize::from(u16_at(&header, 62)));
    let names = names.ok_or(ElfError::NotALibrary("it has no table of section names"))?;
    let names = read_section(file, names)?;
    let name_of =
        |row: &Section| names.get(row.name as usize..).and_then(|rest| rest.split(|byte| *byte == 0).next());
    let find = |name: &str| sections.iter().find(|row| name_of(row) == Some(name.as_bytes()));
    let found = find(section).map(|row| read_section(file, row)).transpose()?;
    let has_symbol = match find(".dynstr") {
        Some(row) if row.kind == SHT_STRTAB => {
            let strings = read_section(file, row)?;
            strings.split(|byte| *byte == 0).any(|string| string == symbol.as_bytes())
        }
        _ => false,
    };
    Ok(Contents { section: found, has_symbol })
}

fn check_machine(machine: u16) -> Result<(), ElfError> {
    const MACHINES: [(u16, &str); 4] = [(62, "x86_64"), (183, "aarch64"), (243, "riscv64"), (22, "s390x")];
    let name = MACHINES.iter().find(|(code, _)| *code == machine).map(|(_, name)| *name);
    match name {
        Some(name) if name == std::env::consts::ARCH => Ok(()),
        Some(name) => Err(ElfError::Architecture(name.to_owned())),
        None => Err(ElfError::Architecture(format!("machine {machine}"))),
    }
}

fn section_table(file: &mut File, header: &[u8]) -> Result<Vec<Section>, ElfError> {
    const ROW: usize = 64;
    let (offset, row_size, count) = (u64_at(header, 40), u16_at(header, 58), u16_at(header, 60));
    if usize::from(row_size) != ROW || count == 0 {
        return Err(ElfError::NotALibrary("it has no section table"));
    }
    let table = read_at(file, offset, u64::from(count) * ROW as u64)?;
    let row = |row: &[u8]| Section {
        name: u32_at(row, 0),
        kind: u32_at(row, 4),
        offset: u64_at(row, 24),
        size: u64_at(row, 32),
    };
    Ok(table.chunks_exact(ROW).map(row).collect())
}

fn read_section(file: &mut File, section: &Section) -> Result<Vec<u8>, ElfError> {
    const SHT_NOBITS: u32 = 8;
    if section.kind == SHT_NOBITS {
        return Ok(Vec::new());
    }
    read_at(file, section.offset, section.size)
}

fn read_at(file: &mut File, offset: u64, size: u64) -> Result<Vec<u8>, ElfError> {
    let end = offset.checked_add(size).ok_or(ElfError::NotALibrary("an offset overflows"))?;
    // Checked before anything is allocated.
    if size > MOST || end > file.metadata()?.len() {
        return Err(ElfError::NotALibrary("the file ends too early"));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; size as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Bytes of a header or row, whose lengths are fixed and long enough.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
