//! Commit: from a root's meta to a backup that everybody sees.

use std::collections::BTreeMap;

use bytes::Bytes;
use datadb::{
    Backup, BackupKey, HostName, Kind, Meta, ObjectKey, TreePath,
    backup::{BackupTime, Counts},
    codec::DecodeError,
    wire::Answer,
};

use super::{Engine, EngineError, committer::Draft};
use crate::index::{Family, keys};

/// What a client says of a backup.
#[derive(Clone, Debug)]
pub struct CommitCall {
    /// By which a repeated commit is recognised.
    pub token: [u8; 16],
    /// Whose path it is.
    pub host: HostName,
    /// What was backed up.
    pub path: TreePath,
    /// Canonical encoding of the root's meta.
    pub root: Bytes,
    /// A time in the past, if the client wants one.
    pub time: Option<BackupTime>,
    /// What is inside.
    pub counts: Counts,
    /// The user's words.
    pub tags: BTreeMap<String, String>,
}

impl Engine {
    /// The backup that a commit with this token has made. Whoever repeats a commit because its answer got lost finds it
    /// here, even where the session ended with the server that had it.
    pub async fn committed(&self, token: [u8; 16]) -> Result<Option<Backup>, EngineError> {
        self.with_index(move |index| match index.get(Family::Backups, &keys::token(&token))? {
            Some(key) => Ok(index.backup(&BackupKey::try_from(&key[..])?)?),
            None => Ok(None),
        })
        .await
    }

    /// Makes a backup. When this returns, all of it is durable; before, nobody sees it.
    pub async fn commit(&self, call: CommitCall) -> Result<Backup, EngineError> {
        let CommitCall { token, host, path, root, time, counts, tags } = call;
        let meta = Meta::decode(&root)?;
        if meta.name.is_some() {
            return Err(DecodeError::rule("root", "has a name").into());
        }
        let now = BackupTime::new(self.now())?;
        if time.is_some_and(|time| time > now) {
            return Err(EngineError::refused(Kind::Invalid, "the time asked for lies in the future"));
        }
        let key = ObjectKey::of(&root);
        let accepted = self.put_objects(vec![root]).await?;
        match accepted.answers[..] {
            [Answer::Have] => {}
            [Answer::Conflict] => {
                let message = format!("the key {key} of the root belongs to other content: send it with the next salt");
                return Err(EngineError::refused(Kind::Conflict, message));
            }
            _ => {
                let missing = accepted.missing.first().map(|key| ObjectKey::new(*key));
                let message = match missing {
                    Some(missing) => format!("the backup's root names {missing}, which is not there"),
                    None => "what was accepted could not be made durable: start the snapshot again".to_owned(),
                };
                return Err(EngineError::refused(Kind::Missing, message));
            }
        }
        let backup = Backup { host, path, time: now, root: key, file_type: meta.file_type, counts, tags, token };
        let draft = Draft { backup: backup.checked()?, time };
        let epoch = self.inner.pending.epoch();
        self.inner.committer.parts(&self.inner.pending, 0).await?;
        self.inner.committer.backup(epoch, draft).await
    }
}
