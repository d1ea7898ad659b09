//! The entries of one directory, in order, page by page. While directories below are looked at the stream is closed, so
//! that a deep tree does not hold a stream a level: it is opened again behind the last name that came.

use std::collections::VecDeque;

use datadb::{Fault, Meta, Name, ObjectKey};

use crate::connection::{Connection, Listing};

/// A directory being listed.
#[derive(Debug, Default)]
pub struct Entries {
    /// The directory's set; `None` when everything has come.
    set: Option<ObjectKey>,
    stream: Option<Listing>,
    page: VecDeque<Meta>,
    last: Option<Name>,
}

impl Entries {
    /// Of a directory's set; an empty directory, or none, has no entries.
    pub fn of(set: Option<ObjectKey>) -> Self {
        Self { set, ..Self::default() }
    }

    /// The next entry, which stays the next.
    pub async fn peek(&mut self, connection: &Connection) -> Result<Option<&Meta>, Fault> {
        while self.page.is_empty() {
            let Some(set) = &self.set else { return Ok(None) };
            if self.stream.is_none() {
                self.stream = Some(connection.list_directory_after(set, self.last.as_ref()).await?);
            }
            self.read().await?;
        }
        Ok(self.page.front())
    }

    /// Takes the entry that `peek` showed.
    pub fn take(&mut self) -> Option<Meta> {
        self.page.pop_front()
    }

    /// Closes the stream; one more page is read first, because as a rule there is none, and nothing to open again.
    pub async fn pause(&mut self) -> Result<(), Fault> {
        self.read().await?;
        self.stream = None;
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Fault> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.page().await? {
            Some(page) => {
                self.page.extend(page.into_iter().map(|(_, meta)| meta));
                self.last = self.page.back().and_then(|meta| meta.name.clone());
            }
            None => (self.set, self.stream) = (None, None),
        }
        Ok(())
    }
}
