//! Places and cursors with their side in the lowest four bits: order within a side stays, and tags nest.

use crate::store::{Cursor, StoreError};

const BITS: u32 = 4;

/// A side's cursor, as the mirror gives it out.
pub(super) fn tag(side: usize, cursor: Cursor) -> Cursor {
    Cursor { pack: cursor.pack << BITS | side as u64, offset: cursor.offset }
}

/// Which side a cursor belongs to, and what it is there.
pub(super) fn untag(cursor: Cursor) -> (usize, Cursor) {
    let side = (cursor.pack & ((1 << BITS) - 1)) as usize;
    (side, Cursor { pack: cursor.pack >> BITS, offset: cursor.offset })
}

/// Refuses cursors that leave no room for a tag: no leaf has so many packs.
pub(super) fn checked(side: usize, cursor: Cursor) -> Result<Cursor, StoreError> {
    if cursor.pack.leading_zeros() < BITS {
        let what = format!("pack number {} leaves no room for the side of a mirror", cursor.pack);
        return Err(StoreError::Inconsistent { place: "mirror".into(), what });
    }
    Ok(tag(side, cursor))
}

/// A side's place, as the mirror gives it out. Packs up to number 2^28 keep their order.
pub(super) fn tag_place(side: usize, place: u64) -> u64 {
    place.rotate_left(BITS) & !((1 << BITS) - 1) | side as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_tells_its_side_and_keeps_its_order(side in 0usize..15, a in any::<(u32, u64)>(), b in any::<(u32, u64)>()) {
            let cursor = |(pack, offset): (u32, u64)| Cursor { pack: pack.into(), offset };
            prop_assert_eq!(untag(checked(side, cursor(a)).unwrap()), (side, cursor(a)));
            prop_assert_eq!(tag(side, cursor(a)).cmp(&tag(side, cursor(b))), cursor(a).cmp(&cursor(b)));
        }

        #[test]
        fn places_of_two_sides_are_never_equal(place in 0u64..1 << 60, sides in (0usize..15, 0usize..15)) {
            let tagged = (tag_place(sides.0, place), tag_place(sides.1, place));
            prop_assert_eq!(tagged.0 == tagged.1, sides.0 == sides.1);
        }
    }
}
