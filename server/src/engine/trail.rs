//! Looking one path up in many backups of a snapshot, one after the other, without reading again what they share.

use datadb::{Backup, FileType, Meta, Name, Object, ObjectKey, TreePath, meta::Content};

use super::{EngineError, browse::object};
use crate::index::Index;

/// The way to one path. It remembers which objects lay on the way in the backup before: where the way through the next
/// backup meets one of them at the same level, the rest of the way is the same, and so is its end.
#[derive(Debug)]
pub struct Trail {
    path: TreePath,
    /// Level (0 is the root's meta) and key of each object on the way.
    steps: Vec<(usize, ObjectKey)>,
    end: Option<Box<Meta>>,
}

/// Where a way leads.
enum End {
    /// To the step of this number of the way before.
    Joins(usize),
    /// To an entry, or to nothing.
    At(Option<Box<Meta>>),
}

impl Trail {
    /// The way to a path below the root of every backup of one snapshot.
    pub fn new(path: TreePath) -> Self {
        Self { path, steps: Vec::new(), end: None }
    }

    /// What lies at the path in a backup. In a backup of a file, `/` and `/NAME` are that file.
    pub fn find(&mut self, index: &Index, backup: &Backup) -> Result<Option<&Meta>, EngineError> {
        let mut steps = Vec::new();
        match self.walk(index, backup, &mut steps)? {
            End::Joins(at) => drop(self.steps.splice(..at, steps)),
            End::At(end) => (self.steps, self.end) = (steps, end),
        }
        Ok(self.end.as_deref())
    }

    fn walk(&self, index: &Index, backup: &Backup, steps: &mut Vec<(usize, ObjectKey)>) -> Result<End, EngineError> {
        let mut meta = match self.step(index, (0, backup.root), steps)? {
            Step::Joins(at) => return Ok(End::Joins(at)),
            Step::To(Object::Meta(root)) => root,
            Step::To(_) => return Ok(End::At(None)),
        };
        if meta.file_type != FileType::Dir && self.path.components().eq([backup.path.shown_name()]) {
            return Ok(End::At(Some(meta)));
        }
        for (level, component) in (1..).zip(self.path.components()) {
            let (Ok(name), FileType::Dir, Content::Ref(set)) = (Name::new(component), meta.file_type, meta.content)
            else {
                return Ok(End::At(None));
            };
            match self.enter(index, (level, set), &name, steps)? {
                End::At(Some(found)) => meta = found,
                end => return Ok(end),
            }
        }
        Ok(End::At(Some(meta)))
    }

    /// An entry of a directory by its name: one read, or two where the directory is large.
    fn enter(
        &self,
        index: &Index,
        (level, set): (usize, ObjectKey),
        name: &Name,
        steps: &mut Vec<(usize, ObjectKey)>,
    ) -> Result<End, EngineError> {
        let mut object = self.step(index, (level, set), steps)?;
        if let Step::To(Object::SetHead(segments)) = &object {
            let at = segments.partition_point(|segment| segment.first <= *name);
            let Some(segment) = at.checked_sub(1).and_then(|at| segments.get(at)) else { return Ok(End::At(None)) };
            object = self.step(index, (level, segment.key), steps)?;
        }
        match object {
            Step::Joins(at) => Ok(End::Joins(at)),
            Step::To(Object::Set(metas)) => {
                let at = metas.binary_search_by(|meta| meta.name.as_ref().cmp(&Some(name)));
                Ok(End::At(at.ok().and_then(|at| metas.into_iter().nth(at)).map(Box::new)))
            }
            Step::To(_) => Ok(End::At(None)),
        }
    }

    fn step(
        &self,
        index: &Index,
        step: (usize, ObjectKey),
        steps: &mut Vec<(usize, ObjectKey)>,
    ) -> Result<Step, EngineError> {
        if let Some(at) = self.steps.iter().position(|known| *known == step) {
            return Ok(Step::Joins(at));
        }
        steps.push(step);
        Ok(Step::To(object(index, &step.1)?))
    }
}

/// What a step meets.
enum Step {
    /// The way before, at its step of this number.
    Joins(usize),
    /// An object that did not lie there before.
    To(Object),
}
