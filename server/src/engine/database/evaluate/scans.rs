//! Scans: keys and elements page by page.

use bytes::Bytes;
use datadb::{
    command::{
        Refusal, Reply,
        pattern::matches,
        shape::{KeyScanArgs, ScanArgs},
    },
    limits,
};

use super::{Scene, Stop, scene::Found};
use crate::{
    index::data::{Among, Element},
    record::effect::DataType,
};

/// Elements that one page of a scan looks at, whatever is asked for.
const SCAN_MAX: u64 = 1 << 12;

impl Scene<'_> {
    fn after(&self, cursor: u64) -> Result<Option<Bytes>, Stop> {
        if cursor == 0 {
            return Ok(None);
        }
        let last = self.cursors.find(cursor);
        last.map(Some).ok_or_else(|| Refusal::err("the cursor is not known any more: start again with 0").into())
    }

    pub(super) fn scan(&self, args: &ScanArgs) -> Result<Reply, Stop> {
        let after = self.after(args.cursor)?.map(|last| format!("{}\0", String::from_utf8_lossy(&last)));
        let (mut found, mut seen, mut cursor) = (Vec::new(), 0, 0);
        let mut last = String::new();
        self.each_key(after.unwrap_or_default(), |key, kind| {
            if seen == args.count.min(SCAN_MAX) {
                cursor = self.cursors.keep(std::mem::take(&mut last).into());
                return Ok(false);
            }
            seen += 1;
            let is_wanted = args.kind.is_empty() || args.kind == kind.word();
            last.clone_from(&key);
            if is_wanted && args.pattern.as_ref().is_none_or(|pattern| matches(pattern, key.as_bytes())) {
                found.push(key.into());
            }
            Ok(true)
        })?;
        Ok(Reply::Page(cursor, found))
    }

    pub(super) fn scan_key(&self, args: &KeyScanArgs, kind: DataType) -> Result<Reply, Stop> {
        let max = args.count.min(SCAN_MAX) as usize;
        let Some(found) = self.find(&args.key, kind)? else { return Ok(Reply::Page(0, Vec::new())) };
        args.check_options()?;
        let after = self.after(args.cursor)?;
        let mut page = match found {
            Found::Stored(at) => {
                let low = after.map(|last| [&last[..], &[0]].concat().into()).unwrap_or_default();
                let among = Among { low, high: None, is_backward: false };
                at.elements(self.index, &among, max + 1)?
            }
            Found::Shown(shown) => {
                let at = after.map_or(0, |last| {
                    shown.elements.iter().position(|(element, _)| *element == last).map_or(0, |at| at + 1)
                });
                shown.elements.into_iter().skip(at).take(max + 1).collect()
            }
        };
        // Long values make a short page, of at least one.
        let mut bytes = 0;
        let is_over = |(element, value): &Element| {
            bytes += element.len() + value.len();
            bytes > limits::PAGE_BYTES
        };
        let fitting = page.iter().position(is_over).unwrap_or(page.len()).clamp(1, max);
        let is_cut = page.len() > fitting;
        page.truncate(fitting);
        let cursor = match page.last() {
            Some((last, _)) if is_cut => self.cursors.keep(last.clone()),
            _ => 0,
        };
        let is_wanted = |element: &[u8]| args.pattern.as_ref().is_none_or(|pattern| matches(pattern, element));
        let mut values = Vec::with_capacity(page.len());
        for (element, value) in page.into_iter().filter(|(element, _)| is_wanted(element)) {
            values.push(element);
            if kind == DataType::Hash {
                values.push(value);
            }
        }
        Ok(Reply::Page(cursor, values))
    }
}
