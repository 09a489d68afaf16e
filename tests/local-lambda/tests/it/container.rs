//! Freezing and limits, in each way that works on this machine.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use local_lambda::{Container, CpuShare, FreezeBy, Launch, Limits, Platform, Process};
use tempfile::TempDir;

use crate::SOON;

const WAYS: [FreezeBy; 3] = [FreezeBy::CgroupV2, FreezeBy::CgroupV1, FreezeBy::Signals];

/// CPU time that a running twin must use meanwhile. A frozen process uses none.
const MUCH: Duration = Duration::from_millis(200);

/// Two processes, of which only the child uses CPU time.
const FORK: &str = "( echo child $BASHPID; while :; do :; done ) & echo forked; wait";

/// A program for bash, which reads the file that `BASH_ENV` names.
struct Script {
    process: Process,
    _home: TempDir,
}

impl Script {
    fn start(text: &str) -> Self {
        Self::launch(Launch::of("/bin/bash"), text)
    }

    fn launch(bash: Launch, text: &str) -> Self {
        let home = TempDir::new().unwrap();
        let file = home.path().join("script");
        fs::write(&file, format!("{text}\nexit 0\n")).unwrap();
        Self { process: bash.env("BASH_ENV", &file).start(), _home: home }
    }

    fn spin() -> Self {
        let script = Self::start("echo ready; while :; do :; done");
        script.process.wait_for_log("ready", SOON);
        script
    }

    /// The child that the script announces by `child PID`.
    fn child(&self) -> u32 {
        let line = self.process.wait_for_log("child ", SOON);
        line.trim_start_matches("child ").parse().unwrap()
    }
}

fn scheduled(pid: u32) -> Duration {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn runs(pid: u32, much: Duration) {
    let before = scheduled(pid);
    wait_until("a process runs", || scheduled(pid) >= before + much);
}

fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|fields| fields.is_empty() || fields.starts_with(" Z"))
}

/// `None`, with a printed note, if this way does not work on this machine.
fn container(by: FreezeBy, limits: Limits) -> Option<Container> {
    let container = Container::freezing_by(by, limits);
    if container.freezes_by() == by {
        return Some(container);
    }
    leave_out(&container);
    None
}

/// Prints the features that this machine lacks. A cgroup that exists but does not work is no such feature.
#[track_caller]
fn leave_out(container: &Container) {
    let lacks =
        ["can't make a cgroup", "can't move processes", " hands no ", " is mounted", "no cgroup"];
    for note in container.notes() {
        assert!(lacks.iter().any(|lack| note.contains(lack)), "{note}");
    }
    println!("left out: {:?}", container.notes());
}

/// Runs this test again in a process of another user.
fn as_nobody(test: &str) -> std::process::Output {
    let home = TempDir::new().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = home.path().join("it");
    // A copy that this process itself writes would be busy while another thread forks.
    let copied = Command::new("cp").arg(env::current_exe().unwrap()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    command.args(["--exact", test, "--nocapture"]).output().unwrap()
}

fn containers() -> impl Iterator<Item = Container> {
    WAYS.into_iter().filter_map(|by| container(by, Limits::default()))
}

/// The cgroups into which a container moved this process.
pub fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let names = memberships.lines().filter_map(|line| line.rsplit_once('/'));
    let own = names.filter(|(_, name)| name.starts_with("local-lambda-"));
    own.map(|(_, name)| PathBuf::from(name)).collect()
}

pub fn exists_somewhere(name: &Path) -> bool {
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name"]).arg(name).output().unwrap();
    !found.stdout.is_empty()
}

#[test]
fn a_frozen_process_uses_no_cpu_while_another_runs() {
    for container in containers() {
        let (frozen, twin) = (Script::spin(), Script::spin());
        container.admit(&frozen.process);
        container.freeze();
        assert!(container.is_frozen());
        let before = scheduled(frozen.process.pid());
        runs(twin.process.pid(), MUCH);
        assert_eq!(scheduled(frozen.process.pid()), before, "{:?}", container.freezes_by());
        container.thaw();
        assert!(!container.is_frozen());
        runs(frozen.process.pid(), Duration::from_millis(20));
    }
}

#[test]
fn processes_forked_before_and_after_admission_freeze_too() {
    let forks_later = "read -r < <(kill -STOP $$); ".to_owned() + FORK;
    for container in containers() {
        let before = Script::start(FORK);
        let mut children = vec![before.child()];
        container.admit(&before.process);
        let after = Script::start(&forks_later);
        wait_until("it stops", || state(after.process.pid()) == 'T');
        container.admit(&after.process);
        after.process.resume();
        children.push(after.child());
        container.freeze();
        let used: Vec<Duration> = children.iter().map(|child| scheduled(*child)).collect();
        runs(Script::spin().process.pid(), MUCH);
        let now: Vec<Duration> = children.iter().map(|child| scheduled(*child)).collect();
        assert_eq!(used, now, "{:?}", container.freezes_by());
        drop(container);
        wait_until("the children end", || children.iter().all(|child| has_ended(*child)));
    }
}

fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

#[test]
fn a_process_in_another_group_freezes_and_ends_with_its_container() {
    for container in containers() {
        let script = Script::start("setsid sh -c 'echo child $$; while :; do :; done' & wait");
        let child = script.child();
        container.admit(&script.process);
        container.freeze();
        let before = scheduled(child);
        runs(Script::spin().process.pid(), MUCH);
        assert_eq!(scheduled(child), before, "{:?}", container.freezes_by());
        drop(container);
        wait_until("the child ends", || has_ended(child));
    }
}

/// Forks twice, each time with a parent that ends at once, and leaves the session.
const STRAY: &str = "( setsid sh -c 'echo child $$; while :; do :; done' & ); exec sleep 1000";

#[test]
fn a_daemonized_process_freezes_and_ends_with_its_container() {
    let platform = Platform::start();
    for (by, round) in WAYS.into_iter().flat_map(|by| (0..6).map(move |round| (by, round))) {
        let Some(container) = container(by, Limits::default()) else { continue };
        let script = Script::launch(Launch::of("/bin/bash").on(&platform), STRAY);
        if round % 2 == 0 {
            // Otherwise it leaves its group during the admission, or after it.
            script.child();
        }
        container.admit(&script.process);
        let child = script.child();
        container.freeze();
        let before = scheduled(child);
        runs(Script::spin().process.pid(), Duration::from_millis(20));
        assert_eq!(scheduled(child), before, "{by:?}, round {round}");
        if round % 3 == 0 {
            script.process.kill();
        }
        drop(container);
        wait_until("the child ends", || has_ended(child));
    }
}

#[test]
fn an_earlier_process_or_one_of_another_address_is_not_in_the_container() {
    let (platform, another) = (Platform::start(), Platform::start());
    let sleep = |platform: &Platform| {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").env("AWS_LAMBDA_RUNTIME_API", platform.runtime_api()).spawn().unwrap()
    };
    let before = sleep(&platform);
    // The process table has a precision of 10 ms.
    runs(Script::spin().process.pid(), Duration::from_millis(20));
    let container = Container::freezing_by(FreezeBy::Signals, Limits::default());
    let script = Script::launch(Launch::of("/bin/bash").on(&platform), STRAY);
    let elsewhere = sleep(&another);
    let child = script.child();
    container.admit(&script.process);
    container.freeze();
    assert_eq!(state(child), 'T');
    for mut free in [before, elsewhere] {
        assert_ne!(state(free.id()), 'T');
        free.kill().unwrap();
        free.wait().unwrap();
    }
}

#[test]
fn freezing_and_thawing_twice_is_harmless() {
    for container in containers() {
        container.freeze();
        let script = Script::spin();
        container.admit(&script.process);
        container.freeze();
        let before = scheduled(script.process.pid());
        runs(Script::spin().process.pid(), MUCH);
        assert_eq!(scheduled(script.process.pid()), before, "{:?}", container.freezes_by());
        container.thaw();
        container.thaw();
        runs(script.process.pid(), Duration::from_millis(20));
    }
}

#[test]
fn of_several_threads_one_freezes_and_one_thaws() {
    for container in containers() {
        let script = Script::spin();
        container.admit(&script.process);
        let count = |act: fn(&Container) -> bool| {
            std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| act(&container)));
                threads.into_iter().filter_map(|it| it.join().unwrap().then_some(())).count()
            })
        };
        assert_eq!(count(Container::freeze), 1, "{:?}", container.freezes_by());
        assert!(container.is_frozen());
        let before = scheduled(script.process.pid());
        runs(Script::spin().process.pid(), MUCH);
        assert_eq!(scheduled(script.process.pid()), before, "{:?}", container.freezes_by());
        assert_eq!(count(Container::thaw), 1, "{:?}", container.freezes_by());
    }
}

#[test]
fn a_frozen_process_is_killed_while_the_others_stay_frozen() {
    for container in containers() {
        let (killed, stays) = (Script::start(FORK), Script::spin());
        let child = killed.child();
        container.admit(&killed.process);
        container.admit(&stays.process);
        container.freeze();
        let before = scheduled(stays.process.pid());
        killed.process.kill();
        wait_until("the child ends", || has_ended(child));
        assert_eq!(scheduled(stays.process.pid()), before, "{:?}", container.freezes_by());
        assert!(stays.process.is_running() && container.is_frozen());
    }
}

#[test]
fn a_dropped_process_group_kills_the_frozen_and_leaves_no_cgroup() {
    for container in containers() {
        let (live, reaped) = (Script::start(FORK), Script::spin());
        let child = live.child();
        container.admit(&live.process);
        container.admit(&reaped.process);
        let names = cgroups_of(live.process.pid());
        assert!(!names.is_empty() || container.freezes_by() == FreezeBy::Signals);
        assert!(names.iter().all(|name| exists_somewhere(name)));
        container.freeze();
        reaped.process.kill();
        drop(container);
        assert!(live.process.exit(SOON).code().is_none());
        wait_until("the child ends", || has_ended(child));
        assert!(!names.iter().any(|name| exists_somewhere(name)), "{names:?}");
    }
}

#[test]
fn the_cpu_time_is_that_of_all_processes() {
    for container in containers() {
        let script = Script::start(FORK);
        let child = script.child();
        container.admit(&script.process);
        // At both readings the processes are frozen, so that the two numbers are from the same moment.
        container.freeze();
        let (before, scheduled_before) = (container.cpu_time(), scheduled(child));
        container.thaw();
        runs(child, MUCH);
        container.freeze();
        let used = (container.cpu_time().saturating_sub(before)).as_secs_f64();
        let expected = scheduled(child).saturating_sub(scheduled_before).as_secs_f64();
        let ratio = used / expected;
        assert!(
            (0.8..1.2).contains(&ratio),
            "{:?}: {used} s of {expected} s",
            container.freezes_by()
        );
    }
}

/// CPU time that a twin without a limit must use meanwhile.
const BESIDE_IT: Duration = Duration::from_millis(700);

#[test]
fn a_cpu_share_of_7_percent_is_about_7_percent_of_the_time() {
    let cpu = Some(CpuShare::of_memory_mb(128));
    let container = Container::new(Limits { memory_mb: None, cpu });
    if !container.notes().is_empty() {
        leave_out(&container);
        return;
    }
    let (limited, twin) = (Script::spin(), Script::spin());
    container.admit(&limited.process);
    let (started, before) = (Instant::now(), scheduled(limited.process.pid()));
    runs(twin.process.pid(), BESIDE_IT);
    let used = scheduled(limited.process.pid()).saturating_sub(before);
    let share = |used: Duration| used.as_secs_f64() / started.elapsed().as_secs_f64();
    // A loaded machine may give less, to the twin too, but never more than the share and one tick.
    let least = f64::min(0.02, share(BESIDE_IT) / 4.0);
    let share = share(used);
    assert!((least..0.10).contains(&share), "{share}, at least {least}");
}

#[test]
fn memory_above_the_limit_is_killed_and_counted() {
    let container = Container::new(Limits { memory_mb: Some(64), cpu: None });
    if container.memory_peak_bytes().is_none() {
        leave_out(&container);
        return;
    }
    assert_eq!(container.out_of_memory_kills(), Some(0));
    let allocate = "kill -STOP $$; head -c 200000000 /dev/zero | tail -c 200000000 | wc -c";
    let script = Script::start(&format!("{allocate}; echo ${{PIPESTATUS[1]}}"));
    wait_until("it stops", || state(script.process.pid()) == 'T');
    container.admit(&script.process);
    script.process.resume();
    script.process.wait_for_log("137", SOON);
    assert_eq!(container.out_of_memory_kills(), Some(1));
    let peak = container.memory_peak_bytes().unwrap();
    assert!((60 << 20..=64 << 20).contains(&peak), "{peak}");
}

#[test]
fn without_the_right_to_make_cgroups_each_missing_feature_is_one_line_and_freezing_works() {
    if rustix::process::geteuid().is_root() {
        let name = "container::without_the_right_to_make_cgroups_each_missing_feature_is_one_line_and_freezing_works";
        let output = as_nobody(name);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let container = Container::new(Limits::of_memory_mb(128));
    let expected = [
        "freezing by SIGSTOP, which processes can see: ",
        "the CPU share is not limited: ",
        "memory is not limited: ",
        "CPU time is that of the processes that still live: ",
    ];
    if container.freezes_by() != FreezeBy::Signals {
        println!("left out: this user may make cgroups");
        return;
    }
    for (note, start) in container.notes().iter().zip(expected) {
        assert!(note.starts_with(start) && !note.contains('\n'), "{note}");
    }
    assert_eq!(container.notes().len(), expected.len());
    let script = Script::spin();
    container.admit(&script.process);
    container.freeze();
    let before = scheduled(script.process.pid());
    runs(Script::spin().process.pid(), MUCH);
    assert_eq!(scheduled(script.process.pid()), before);
    assert!(container.cpu_time() >= before && container.out_of_memory_kills().is_none());
}
