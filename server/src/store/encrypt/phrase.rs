//! Recovery phrases: a key as words that a person can write down, read aloud and type in again.
//!
//! # Format (version 1)
//! 18 words of five letters, consonant and vowel in turn, 16 bits each: 4, 2, 4, 2 and 4 bits from `bdfghjklmnprstvz` and
//! `aiou`. The first 16 words are the key. The last two make the sum of all words, and the sum of each times 2 to the power
//! of its place, zero in GF(2^16) with the polynomial x^16 + x^12 + x^3 + x + 1. So one wrong word is found and named, and
//! two wrong or swapped ones are noticed.

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::key::KEY_BYTES;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// Words that hold the key.
const KEY_WORDS: usize = KEY_BYTES / 2;

/// Words of a phrase.
pub const WORDS: usize = KEY_WORDS + 2;

/// Why words are not a phrase. The words themselves are secret; of them, at most the one that is wrong is shown.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PhraseError {
    /// Words are missing, or there are too many.
    #[error("a recovery phrase has {WORDS} words, here are {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// Something is no word at all.
    #[error("word {place}, `{word}`, is none: each is five letters, consonant and vowel in turn, like `lusab`")]
    Word {
        /// Which one, from 1.
        place: usize,
        /// As it was given.
        word: String,
    },
    /// One word doesn't fit the others.
    #[error("word {place}, `{word}`, does not fit the others; `{fits}` would")]
    Typo {
        /// Which one, from 1.
        place: usize,
        /// As it was given.
        word: String,
        /// What would fit in its place.
        fits: String,
    },
    /// Several words are wrong.
    #[error("the words do not fit each other: two or more of them are wrong, or in another order")]
    Check,
}

/// The phrase of a key.
pub fn of(key: &[u8; KEY_BYTES]) -> Zeroizing<Vec<String>> {
    let mut words = Zeroizing::new([0u16; WORDS]);
    for (word, pair) in words.iter_mut().zip(key.as_chunks().0) {
        *word = u16::from_be_bytes(*pair);
    }
    let (sum, weighted) = syndromes(&*words);
    let last = power(KEY_WORDS + 1);
    words[KEY_WORDS] = times(weighted ^ times(last, sum), inverse(power(KEY_WORDS) ^ last));
    words[KEY_WORDS + 1] = sum ^ words[KEY_WORDS];
    Zeroizing::new(words.iter().map(|word| spell(*word)).collect())
}

/// The key of a phrase. Case, spaces, line ends and hyphens between the words don't matter.
pub fn parse(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, PhraseError> {
    let given: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == '-').filter(|word| !word.is_empty()).collect();
    if given.len() != WORDS {
        return Err(PhraseError::Count { found: given.len() });
    }
    let mut words = Zeroizing::new([0u16; WORDS]);
    for (at, (word, text)) in words.iter_mut().zip(&given).enumerate() {
        let none = || PhraseError::Word { place: at + 1, word: (*text).to_owned() };
        *word = read(text).ok_or_else(none)?;
    }
    let (sum, weighted) = syndromes(&*words);
    if (sum, weighted) != (0, 0) {
        let wrong = (0..WORDS).find(|at| sum != 0 && times(sum, power(*at)) == weighted).ok_or(PhraseError::Check)?;
        let fits = spell(words[wrong] ^ sum);
        return Err(PhraseError::Typo { place: wrong + 1, word: given[wrong].to_owned(), fits });
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (pair, word) in key.as_chunks_mut().0.iter_mut().zip(words.iter()) {
        *pair = word.to_be_bytes();
    }
    Ok(key)
}

fn spell(word: u16) -> String {
    let mut rest = word;
    let mut letters: Vec<u8> = Vec::with_capacity(5);
    for place in 0..5 {
        let (alphabet, bits): (&[u8], u32) = if place % 2 == 0 { (CONSONANTS, 4) } else { (VOWELS, 2) };
        rest = rest.rotate_left(bits);
        letters.push(alphabet[usize::from(rest) & (alphabet.len() - 1)]);
    }
    letters.into_iter().map(char::from).collect()
}

fn read(text: &str) -> Option<u16> {
    let mut letters = text.as_bytes().to_ascii_lowercase();
    let mut word = 0u16;
    let is_whole = letters.len() == 5
        && letters.iter().enumerate().all(|(place, letter)| {
            let (alphabet, bits): (&[u8], u32) = if place % 2 == 0 { (CONSONANTS, 4) } else { (VOWELS, 2) };
            let digit = alphabet.iter().position(|other| other == letter);
            word = word << bits | digit.unwrap_or_default() as u16;
            digit.is_some()
        });
    letters.zeroize();
    is_whole.then_some(word)
}

/// The sum of all words, and of each times 2 to the power of its place.
fn syndromes(words: &[u16]) -> (u16, u16) {
    let sum = words.iter().fold(0, |sum, word| sum ^ word);
    // Horner's scheme, from the last to the first.
    let weighted = words.iter().rev().fold(0, |sum, word| times(sum, 2) ^ word);
    (sum, weighted)
}

/// Multiplies in GF(2^16).
fn times(a: u16, b: u16) -> u16 {
    let (mut a, mut product) = (u32::from(a), 0);
    for bit in 0..16 {
        if b >> bit & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 0x1_0000 != 0 {
            a ^= 0x1_100B;
        }
    }
    product as u16
}

/// 2 to this power.
fn power(exponent: usize) -> u16 {
    (0..exponent).fold(1, |power, _| times(power, 2))
}

/// What gives 1 together with `a`: `a` to the power of 2^16 - 2.
fn inverse(a: u16) -> u16 {
    (0..15)
        .fold((1, a), |(product, square), _| {
            let square = times(square, square);
            (times(product, square), square)
        })
        .0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn phrase(key: &[u8; KEY_BYTES]) -> String {
        of(key).join(" ")
    }

    #[test]
    fn words_are_proquints() {
        // The examples of their inventor: 127.0.0.1 and 63.84.220.193.
        for (number, word) in [(0x7f00, "lusab"), (0x0001, "babad"), (0x3f54, "gutih"), (0xdcc1, "tugad")] {
            assert_eq!((spell(number), read(word)), (word.to_owned(), Some(number)));
        }
    }

    /// The format is for ever: phrases lie in drawers.
    #[test]
    fn a_phrase_stays_what_it_is() {
        let key: [u8; KEY_BYTES] = std::array::from_fn(|at| at as u8 * 8);
        assert_eq!(parse(A_PHRASE).unwrap().as_slice(), key);
        assert_eq!(phrase(&key), A_PHRASE);
    }

    const A_PHRASE: &str =
        "babam dabim fabom gabum hadam jadim kadom ladum mafam nafim pafom rafum sagam tagim vagom zagum navog navog";

    #[test]
    fn two_is_a_generator_so_that_every_place_has_a_weight_of_its_own() {
        let powers: std::collections::BTreeSet<u16> = (0..WORDS).map(power).collect();
        assert_eq!(powers.len(), WORDS);
        for number in [1, 2, 3, 0x1234, 0xffff] {
            assert_eq!(times(number, inverse(number)), 1);
        }
    }

    proptest! {
        #[test]
        fn a_key_comes_back_from_its_phrase_however_it_is_typed(key: [u8; KEY_BYTES]) {
            let text = phrase(&key);
            prop_assert_eq!(*parse(&text).unwrap(), key);
            prop_assert_eq!(*parse(&format!("\n {}\t\r\n", text.to_uppercase().replace(' ', "-\n"))).unwrap(), key);
        }

        #[test]
        fn one_wrong_word_is_named_with_what_fits(key: [u8; KEY_BYTES], place in 0..WORDS, error in 1..=u16::MAX) {
            let mut words: Vec<String> = of(&key).to_vec();
            let fits = words[place].clone();
            words[place] = spell(read(&fits).unwrap() ^ error);
            let word = words[place].clone();
            prop_assert_eq!(parse(&words.join(" ")).unwrap_err(), PhraseError::Typo { place: place + 1, word, fits });
        }

        #[test]
        fn two_wrong_or_swapped_words_are_noticed(key: [u8; KEY_BYTES], a in 0..WORDS, b in 0..WORDS, errors: (u16, u16)) {
            let words: Vec<String> = of(&key).to_vec();
            let mut wrong = words.clone();
            wrong.swap(a, b);
            prop_assert_eq!(parse(&wrong.join(" ")).is_ok(), wrong == words);
            let mut wrong = words.clone();
            wrong[a] = spell(read(&wrong[a]).unwrap() ^ errors.0);
            wrong[b] = spell(read(&wrong[b]).unwrap() ^ errors.1);
            prop_assert_eq!(parse(&wrong.join(" ")).is_ok(), wrong == words);
        }

        #[test]
        fn a_wrong_letter_and_a_lost_word_are_named(key: [u8; KEY_BYTES], place in 0..WORDS) {
            let mut words: Vec<String> = of(&key).to_vec();
            words[place].replace_range(1..2, "e");
            let word = words[place].clone();
            prop_assert_eq!(parse(&words.join(" ")).unwrap_err(), PhraseError::Word { place: place + 1, word });
            words.remove(place);
            prop_assert_eq!(parse(&words.join(" ")).unwrap_err(), PhraseError::Count { found: WORDS - 1 });
        }
    }
}
