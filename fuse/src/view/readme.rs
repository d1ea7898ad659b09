//! The texts that say what is what.

/// In the root, and in the directory of a host.
pub const ROOT: &str = "\
Every backup that was ever taken, read-only.

latest/NAME               the newest backup of each snapshot
snapshots/NAME/TIMESTAMP  every backup, by the time when it was taken
at/NAME/TIME              the backup that was the newest at that time: write any time, e.g.
                          2014, 2014-05, 2014-05-12, 2014-05-12T18:36, yesterday, 2h, 3d, 1w

NAME is the last part of the path that was backed up (`root` for /). Where two paths share it, the one that was there
first has the plain name, the other has eight digits of its key behind it. New backups appear by themselves.

Copy from here what you want to have back: cp -a at/NAME/yesterday/some/file ~/
";

/// In the directory where times are typed.
pub const TIMES: &str = "\
Type a time behind this directory's name, and you are in the backup that was the newest one then:

2014                       at the end of that year
2014-05                    at the end of that month
2014-05-12                 at the end of that day
2014-05-12T18              at the end of that hour; 2014-05-12T18:36 and 2014-05-12T18:36:07 work, too
2014-05-12T18:36:07Z       in UTC, or with any offset: 2014-05-12T18:36:07+02:00
now, today, yesterday      yesterday is the end of yesterday
2h, 3d, 1w                 so long ago: hours, days, weeks

Before the first backup there is nothing. All times that there are: ls ../../snapshots/NAME
";
