//! `datadb-server keygen`: makes a key file, or makes one again from its recovery phrase.

use std::{error::Error, fs::File, io::Read};

use zeroize::Zeroizing;

use super::KeygenArgs;
use crate::store::encrypt::{
    key::{Key, KeyError},
    phrase,
};

/// A phrase has 107 letters and spaces; more than this is another file.
const PHRASE_BYTES_MAX: u64 = 4 << 10;

/// Words in a line, so that they are easily copied.
const LINE_WORDS: usize = 6;

/// Writes the file, and says what a person must know of it.
pub fn run(args: &KeygenArgs) -> Result<(), Box<dyn Error>> {
    // Nobody types a phrase for nothing.
    if args.path.symlink_metadata().is_ok() {
        return Err(KeyError::Exists { path: args.path.clone() }.into());
    }
    let key = if args.recover { recover(args)? } else { Key::generate()? };
    key.write(&args.path)?;
    println!("key {} is in {}", key.id(), args.path.display());
    if !args.recover {
        println!("its recovery phrase; write it down, and keep it where neither the server nor the storage is:");
        for line in key.phrase().chunks(LINE_WORDS) {
            println!("  {}", Zeroizing::new(line.join(" ")).as_str());
        }
        println!("who has key or phrase can read the backups; who loses both has lost what they seal");
    }
    Ok(())
}

/// The key of a phrase from a file or from stdin.
fn recover(args: &KeygenArgs) -> Result<Key, Box<dyn Error>> {
    let (place, mut from): (String, Box<dyn Read>) = match &args.phrase_file {
        Some(path) => (
            path.display().to_string(),
            Box::new(File::open(path).map_err(|error| format!("{}: {error}", path.display()))?),
        ),
        None => ("stdin".to_owned(), Box::new(std::io::stdin().lock())),
    };
    let mut text = Zeroizing::new(String::with_capacity(PHRASE_BYTES_MAX as usize + 1));
    let read = from.by_ref().take(PHRASE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| format!("{place}: {error}"))?;
    if text.len() as u64 > PHRASE_BYTES_MAX {
        return Err(format!("{place}: this is longer than any recovery phrase").into());
    }
    let key = phrase::parse(&text).map_err(|error| format!("{place}: {error}"))?;
    Ok(Key::new(key))
}
