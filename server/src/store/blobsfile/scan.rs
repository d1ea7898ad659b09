//! Walking through a pack record by record, by its footer or by the records themselves, past damage.

use std::{io, vec};

use super::{
    pack::{self, HEADER_BYTES},
    record::Head,
};
use crate::store::disk::DiskFile;

/// What lies next in a pack.
#[derive(Debug)]
pub(super) enum Step {
    /// A record whose head is intact.
    Record { offset: u64, head: Head },
    /// Bytes that are no record.
    Damage { offset: u64, bytes: u64 },
}

/// A walk through one pack.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    end: u64,
    /// From here on data is verified too.
    verify_from: u64,
    footer: Option<vec::IntoIter<(u64, Head)>>,
}

impl<'a> Scan<'a> {
    /// Starts at an offset and verifies the data of records from `verify_from` on.
    pub(super) fn new(file: &'a dyn DiskFile, offset: u64, end: u64, verify_from: u64) -> Self {
        Self { file, offset: offset.max(HEADER_BYTES), end, verify_from, footer: None }
    }

    /// Starts behind the record at `after`, using the footer if there is an intact one.
    pub(super) fn after(file: &'a dyn DiskFile, after: Option<u64>, end: u64, is_sealed: bool) -> io::Result<Self> {
        let mut scan = Self::new(file, HEADER_BYTES, end, u64::MAX);
        let footer = if is_sealed { pack::read_footer(file)? } else { None };
        if let Some(mut records) = footer {
            records.retain(|(offset, _)| after.is_none_or(|after| *offset > after));
            scan.footer = Some(records.into_iter());
        } else if let Some(after) = after {
            scan.offset = match pack::read_head(file, after)? {
                Ok(head) => after + head.record_len(),
                Err(_) => pack::find_magic(file, after + 1, end)?.unwrap_or(end),
            };
        }
        Ok(scan)
    }

    /// The next record or stretch of damage; `None` at the end or at a footer.
    pub(super) fn next_step(&mut self) -> io::Result<Option<Step>> {
        if let Some(records) = &mut self.footer {
            return Ok(records.next().map(|(offset, head)| Step::Record { offset, head }));
        }
        let offset = self.offset;
        if offset >= self.end || pack::is_footer(self.file, offset)? {
            return Ok(None);
        }
        if let Ok(head) = pack::read_head(self.file, offset)?
            && offset + head.record_len() <= self.end
            && (self.is_plausible(offset, &head)? || self.is_data_intact(offset, &head)?)
        {
            self.offset = offset + head.record_len();
            return Ok(Some(Step::Record { offset, head }));
        }
        self.offset = pack::find_magic(self.file, offset + 1, self.end)?.unwrap_or(self.end);
        Ok(Some(Step::Damage { offset, bytes: self.offset - offset }))
    }

    /// Whether a record may be believed without reading its data: something is known to rely on it, and something starts
    /// where it ends. (Where it doesn't, bytes were lost, and the record would swallow those that follow.)
    fn is_plausible(&self, offset: u64, head: &Head) -> io::Result<bool> {
        let next = offset + head.record_len();
        Ok(offset < self.verify_from && (next == self.end || pack::is_boundary(self.file, next)?))
    }

    /// Where the walk stands: the end of what was understood.
    pub(super) fn position(&self) -> u64 {
        self.offset
    }

    fn is_data_intact(&self, offset: u64, head: &Head) -> io::Result<bool> {
        let data = pack::read_data(self.file, offset, head)?;
        Ok(data.and_then(|data| head.clone().into_bundle(data)).is_ok())
    }
}
