//! Whether the machine runs on its battery, as Linux says it.

use std::{fs, path::Path};

/// Where Linux says it.
const SUPPLIES: &str = "/sys/class/power_supply";

/// Whether a run that wants mains power has it. A machine that knows of no supplies has no battery.
pub fn is_on_mains() -> bool {
    is_on_mains_in(Path::new(SUPPLIES))
}

/// By what lies in a directory like that of Linux: any mains that is online, or no battery that discharges.
fn is_on_mains_in(dir: &Path) -> bool {
    let supplies: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let says = |supply: &Path, file: &str| {
        fs::read_to_string(supply.join(file)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let is_online = |supply: &Path| ["Mains", "USB"].contains(&&*says(supply, "type")) && says(supply, "online") == "1";
    // A battery of a mouse says that it is one of a device.
    let is_draining = |supply: &Path| {
        says(supply, "type") == "Battery"
            && says(supply, "scope") != "Device"
            && says(supply, "status") == "Discharging"
    };
    supplies.iter().any(|supply| is_online(supply)) || !supplies.iter().any(|supply| is_draining(supply))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(dir: &Path, name: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(dir.join(name)).unwrap();
        for (file, text) in files {
            fs::write(dir.join(name).join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn a_laptop_on_its_battery_waits_and_everybody_else_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_on_mains_in(&dir.path().join("none")));
        supply(dir.path(), "hid-mouse", &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging")]);
        assert!(is_on_mains_in(dir.path()), "the battery of a mouse");
        supply(dir.path(), "BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        supply(dir.path(), "AC", &[("type", "Mains"), ("online", "0")]);
        assert!(!is_on_mains_in(dir.path()));
        supply(dir.path(), "AC", &[("online", "1")]);
        assert!(is_on_mains_in(dir.path()));
        supply(dir.path(), "AC", &[("online", "0")]);
        supply(dir.path(), "BAT0", &[("status", "Full")]);
        assert!(is_on_mains_in(dir.path()));
    }
}
