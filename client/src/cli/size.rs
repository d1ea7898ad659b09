//! Sizes and rates as people write them.

use crate::connection::Rate;

/// `1048576`, `1024k`, `1M`, `1MiB`: units are powers of 1024.
pub fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size: write 500k, 10M, 2G or a number of bytes");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B')).unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// The same, a second; nothing at all is no rate.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    Rate::new(parse(text)?).ok_or_else(|| "at a rate of 0 nothing would ever arrive".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        let sizes = ["0", "17", "2k", "3K", "4KiB", "5M", "1GB", "2T"].map(|text| parse(text).unwrap());
        assert_eq!(sizes, [0, 17, 2048, 3072, 4096, 5 << 20, 1 << 30, 2 << 40]);
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "M", "-1", "1.5M", "1 M", "1X", "99999999999T", "0x10"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_rate("0").is_err());
    }
}
