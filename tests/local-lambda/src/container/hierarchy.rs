//! The mounted cgroup hierarchies, and our own cgroup in each (cgroups(7)).

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    controllers: Vec<String>,
    /// Our own cgroup, or the topmost visible one if ours is not visible.
    pub own: PathBuf,
}

pub struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    pub fn of_this_process() -> Self {
        // Without /proc, no hierarchy is found, and the notes report that.
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Parses the lines of `/proc/PID/mountinfo` (proc(5)) and `/proc/PID/cgroup` (cgroups(7)).
    pub fn parse(mounts: &str, memberships: &str) -> Self {
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let hierarchy = |line| Hierarchy::find(line, &mounts);
        Self(memberships.lines().filter_map(hierarchy).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Hierarchy> {
        self.0.iter()
    }

    pub fn v2(&self) -> Option<&Hierarchy> {
        self.0.iter().find(|it| it.version == Version::V2)
    }

    /// The hierarchy with this controller, of v1 or else of v2.
    pub fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.0.iter().find(|it| it.controllers.iter().any(|one| one == controller))
    }
}

impl Hierarchy {
    fn find(membership: &str, mounts: &[Mount]) -> Option<Self> {
        let mut fields = membership.splitn(3, ':').skip(1);
        let (controllers, own) = (fields.next()?, fields.next()?);
        let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
        let is_of_it = |mount: &&Mount| match version {
            Version::V1 => mount.kind == "cgroup" && mount.has(controllers),
            Version::V2 => mount.kind == "cgroup2",
        };
        let candidates: Vec<&Mount> = mounts.iter().filter(is_of_it).collect();
        let visible = candidates.iter().find_map(|mount| mount.path_of(own));
        let own = visible.or_else(|| Some(candidates.first()?.point.clone()))?;
        let controllers = match version {
            Version::V1 => controllers.split(',').map(str::to_owned).collect(),
            Version::V2 => {
                let file = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
                file.split_whitespace().map(str::to_owned).collect()
            }
        };
        Some(Self { version, controllers, own })
    }
}

struct Mount {
    /// The cgroup of the hierarchy that is visible at the mount point.
    root: PathBuf,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (unescape(place.next()?), unescape(place.next()?));
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem.next()?.to_owned();
        let options = filesystem.nth(1)?.to_owned();
        Some(Self { root, point, kind, options })
    }

    fn has(&self, controllers: &str) -> bool {
        controllers.split(',').all(|one| self.options.split(',').any(|option| option == one))
    }

    fn path_of(&self, cgroup: &str) -> Option<PathBuf> {
        let below = Path::new(cgroup).strip_prefix(&self.root).ok()?;
        let path = self.point.join(below);
        path.is_dir().then_some(path)
    }
}

/// Decodes a field. mountinfo writes space, tab, line feed and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    let plain = escapes.iter().fold(field.to_owned(), |text, (code, it)| text.replace(code, it));
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_sees_its_own_cgroup_at_the_mount_point() {
        let home = tempfile::TempDir::new().unwrap();
        let point = home.path().join("a b");
        fs::create_dir_all(point.join("inner")).unwrap();
        let shown = point.display().to_string().replace(' ', "\\040");
        let mounts = format!(
            "30 23 0:26 / /proc rw shared:9 - proc proc rw\n\
             32 31 0:29 /docker/1 {shown} rw,relatime shared:7 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
        );
        let found = Hierarchies::parse(&mounts, "4:cpu,cpuacct:/docker/1/inner\n0::/\n");
        assert_eq!(found.with("cpuacct").unwrap().own, point.join("inner"));
        assert_eq!(found.with("cpu"), found.with("cpuacct"));
        assert_eq!((found.with("memory"), found.v2()), (None, None));
        let elsewhere = Hierarchies::parse(&mounts, "4:cpu,cpuacct:/../other\n");
        assert_eq!(elsewhere.with("cpu").unwrap().own, point);
    }

    #[test]
    fn version_2_has_the_controllers_of_its_own_cgroup() {
        let point = tempfile::TempDir::new().unwrap();
        fs::create_dir(point.path().join("user.slice")).unwrap();
        fs::write(point.path().join("user.slice/cgroup.controllers"), "memory pids\n").unwrap();
        let shown = point.path().display();
        let mounts = format!("41 31 0:38 / {shown} rw - cgroup2 cgroup2 rw,nsdelegate\n");
        let found = Hierarchies::parse(&mounts, "0::/user.slice\n");
        assert_eq!(found.v2().unwrap().own, point.path().join("user.slice"));
        assert_eq!(found.with("memory"), found.v2());
        assert_eq!(found.with("cpu"), None);
    }
}
