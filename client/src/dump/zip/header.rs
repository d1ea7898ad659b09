//! Headers of a zip archive: one before each file, a descriptor behind those whose length was not known before, and the
//! directory at the end. Numbers are little endian. What 32 bits do not hold stands in a zip64 field. No IO.
//!
//! Times are in the extended timestamp field (`UT`, seconds), owners in the `ux` field, modes in the upper half of the
//! external attributes, as Info-ZIP reads them. The old time of every entry is in UTC, so that the same backup gives the
//! same bytes everywhere.

use datadb::meta::Timestamp;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

/// Made by a Unix that knows zip64.
const MADE_BY: u16 = 3 << 8 | 45;
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;

/// 1980-01-01 and 2108-01-01, between which old times lie.
const DOS_RANGE: std::ops::Range<i64> = 315_532_800..4_354_819_200;

/// How bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As they are.
    Stored = 0,
    /// Compressed.
    Deflate = 8,
}

/// A file, directory or symlink.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name; that of a directory ends in `/`.
    pub name: Vec<u8>,
    /// Type and permission bits as `st_mode` has them.
    pub mode: u32,
    /// Numeric owner and group.
    pub owner: (u32, u32),
    /// Time of last modification.
    pub mtime: Timestamp,
    /// How it is stored.
    pub method: Method,
    /// CRC-32 of the plain bytes.
    pub crc: u32,
    /// Stored bytes.
    pub stored: u64,
    /// Plain bytes.
    pub plain: u64,
    /// Where its header begins.
    pub offset: u64,
    /// The sizes were not known when the header was written: they follow the bytes.
    pub has_descriptor: bool,
    /// Of one with a descriptor: it may grow beyond 32 bits.
    pub is_long: bool,
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, number: u16) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// A number in 32 bits, or what says that it stands in the zip64 field.
fn short(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const fn is_long(number: u64) -> bool {
    number >= u32::MAX as u64
}

impl Member {
    /// The header before its bytes.
    pub fn local(&self) -> Vec<u8> {
        let is_long = self.is_long || is_long(self.plain) || is_long(self.stored);
        let mut extra = Bytes::default();
        if is_long {
            let (plain, stored) = if self.has_descriptor { (0, 0) } else { (self.plain, self.stored) };
            extra.u16(0x0001).u16(16).u64(plain).u64(stored);
        }
        self.common_extra(&mut extra);
        let (crc, stored, plain) = match (self.has_descriptor, is_long) {
            (true, false) => (0, 0, 0),
            (true, true) => (0, u32::MAX, u32::MAX),
            (false, false) => (self.crc, short(self.stored), short(self.plain)),
            (false, true) => (self.crc, u32::MAX, u32::MAX),
        };
        let mut out = Bytes::default();
        out.u32(LOCAL).u16(if is_long { VERSION_64 } else { VERSION });
        self.middle(&mut out);
        out.u32(crc).u32(stored).u32(plain).u16(self.name.len() as u16).u16(extra.0.len() as u16);
        out.raw(&self.name).raw(&extra.0);
        out.0
    }

    /// What follows the bytes of one with a descriptor.
    pub fn descriptor(&self) -> Vec<u8> {
        let mut out = Bytes::default();
        out.u32(DESCRIPTOR).u32(self.crc);
        if self.is_long {
            out.u64(self.stored).u64(self.plain);
        } else {
            out.u32(short(self.stored)).u32(short(self.plain));
        }
        out.0
    }

    /// Its entry in the directory.
    pub fn central(&self) -> Vec<u8> {
        let mut long = Bytes::default();
        for number in [self.plain, self.stored, self.offset] {
            if is_long(number) {
                long.u64(number);
            }
        }
        let mut extra = Bytes::default();
        if !long.0.is_empty() {
            extra.u16(0x0001).u16(long.0.len() as u16).raw(&long.0);
        }
        self.common_extra(&mut extra);
        let is_long = self.is_long || !long.0.is_empty();
        let is_dir = self.name.ends_with(b"/");
        let mut out = Bytes::default();
        out.u32(CENTRAL).u16(MADE_BY).u16(if is_long { VERSION_64 } else { VERSION });
        self.middle(&mut out);
        out.u32(self.crc).u32(short(self.stored)).u32(short(self.plain));
        // No comment, on the first disk, no internal attributes.
        out.u16(self.name.len() as u16).u16(extra.0.len() as u16).u16(0).u16(0).u16(0);
        out.u32(self.mode << 16 | if is_dir { 0x10 } else { 0 }).u32(short(self.offset));
        out.raw(&self.name).raw(&extra.0);
        out.0
    }

    fn middle(&self, out: &mut Bytes) {
        let utf8 = if std::str::from_utf8(&self.name).is_ok() { FLAG_UTF8 } else { 0 };
        let (date, time) = dos(self.mtime.seconds);
        out.u16(utf8 | if self.has_descriptor { FLAG_DESCRIPTOR } else { 0 });
        out.u16(self.method as u16).u16(time).u16(date);
    }

    fn common_extra(&self, out: &mut Bytes) {
        if let Ok(seconds) = i32::try_from(self.mtime.seconds) {
            out.u16(0x5455).u16(5).raw(&[1]).raw(&seconds.to_le_bytes());
        }
        out.u16(0x7875).u16(11).raw(&[1, 4]).u32(self.owner.0).raw(&[4]).u32(self.owner.1);
    }
}

/// The end of the archive, behind the directory.
pub fn end(members: u64, offset: u64, len: u64) -> Vec<u8> {
    let mut out = Bytes::default();
    if members >= u64::from(u16::MAX) || is_long(offset) || is_long(len) {
        out.u32(END_64).u64(44).u16(MADE_BY).u16(VERSION_64).u32(0).u32(0);
        out.u64(members).u64(members).u64(len).u64(offset);
        out.u32(LOCATOR_64).u32(0).u64(offset + len).u32(1);
    }
    let count = u16::try_from(members).unwrap_or(u16::MAX);
    out.u32(END).u16(0).u16(0).u16(count).u16(count).u32(short(len)).u32(short(offset)).u16(0);
    out.0
}

/// Date and time in the old form, two seconds a step, in UTC.
fn dos(seconds: i64) -> (u16, u16) {
    let seconds = seconds.clamp(DOS_RANGE.start, DOS_RANGE.end - 1);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let [year, month, day] = [time.year() - 1980, time.month().into(), time.day().into()].map(i16::cast_unsigned);
    let [hour, minute, second] =
        [time.hour(), time.minute(), time.second()].map(|part| u16::from(part.cast_unsigned()));
    (year << 9 | month << 5 | day, hour << 11 | minute << 5 | (second / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_times_stay_within_what_they_can_say() {
        assert_eq!(dos(1_399_806_067), ((2014 - 1980) << 9 | 5 << 5 | 11, 11 << 11 | 1 << 5 | 3));
        assert_eq!(dos(-5), (1 << 5 | 1, 0));
        assert_eq!(dos(i64::MAX), (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29));
    }
}
