//! The processes: their user, their group, and their limits of CPU and memory.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use local_lambda::{FreezeBy, Setup, Status, User};

use super::puppet::{Puppet, script};
use super::{NOTHING, healthy, in_a_process, in_threads, short_shutdown, start};
use crate::FLOOR;

const LAMBDA_UID: u32 = 993;

#[test]
fn extensions_run_as_lambdas_user_where_root_allows() {
    let own = fs::metadata("/proc/self").unwrap().uid();
    let lambda = start(healthy());
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    let pid = lambda.pid_of("floor").unwrap();
    let user = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_eq!(user, if own == 0 { LAMBDA_UID } else { own });

    let lambda = start(healthy().user(User::Own));
    assert!(lambda.wait_for_init());
    let pid = lambda.pid_of("floor").unwrap();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), own);
}

#[test]
fn when_a_lambda_is_dropped_no_process_stays() {
    let (_home, path) = script("#!/bin/sh\nsleep 1000 &\necho $!\nexec sleep 1000\n");
    let lambda = start(Setup::new().extension_named(&path, "parent").runtime(in_a_process(&[])));
    let mut parent = Puppet::registered(&lambda, "parent", &["INVOKE"]);
    parent.poll();
    assert!(lambda.wait_for_init());
    let child: u32 = lambda.wait_for("pid of the child", |event| match event {
        local_lambda::Event::Log { line, .. } => line.parse().ok(),
        _ => None,
    });
    let pids = [child, lambda.pid_of("parent").unwrap()];
    drop(lambda);
    for pid in pids {
        assert!(is_gone(pid), "process {pid} is still there");
    }
}

#[test]
fn a_process_that_left_its_group_is_reported_at_shutdown_and_ends_with_the_environment() {
    let text = "#!/bin/sh\n( setsid sh -c 'echo $$; exec sleep 1000' & )\nexec sleep 1000\n";
    let (_home, path) = script(text);
    for freeze_by in [FreezeBy::CgroupV2, FreezeBy::CgroupV1, FreezeBy::Signals] {
        let setup = Setup::new().extension_named(&path, "parent").runtime(in_threads());
        let lambda = start(setup.limits(short_shutdown()).freeze_by(freeze_by));
        let mut parent = Puppet::registered(&lambda, "parent", &["INVOKE"]);
        parent.poll();
        assert!(lambda.wait_for_init());
        let stray: u32 = lambda.wait_for("pid of the stray", |event| match event {
            local_lambda::Event::Log { line, .. } => line.parse().ok(),
            _ => None,
        });
        let (report, _) = lambda.shut_down("spindown");
        assert_eq!(report.strays, 1, "{freeze_by:?}");
        assert!(is_gone(stray), "process {stray} is still there");
    }
}

/// Another execution environment may have the same address in a network namespace of its own.
#[test]
fn a_process_with_the_same_address_in_another_network_namespace_stays() {
    let lambda = start(healthy());
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    let floor = lambda.pid_of("floor").unwrap();
    let environment = fs::read_to_string(format!("/proc/{floor}/environ")).unwrap();
    let (name, address) = environment
        .split('\0')
        .filter_map(|it| it.split_once('='))
        .find(|(name, _)| *name == "AWS_LAMBDA_RUNTIME_API")
        .unwrap();
    let mut other = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--", "sh", "-c", "echo; exec sleep 1000"])
        .env(name, address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It writes a line once it has its own namespace. Not every machine allows one.
    let has_namespace = other.stdout.take().unwrap().read(&mut [0]).unwrap() == 1;
    lambda.shut_down("spindown");
    assert_eq!(!is_gone(other.id()), has_namespace);
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Whether the process has ended. It may still be a zombie, if its new parent has not reaped it yet.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_confined_function_gets_the_share_of_the_cpu_that_its_memory_buys() {
    let work = r#"{"reports":0,"cpu_ms":30}"#;
    let setup = Setup::new().extension(FLOOR).runtime(in_a_process(&[])).memory_mb(128);
    let confined = start(setup.confined().timeout(Duration::from_secs(30)));
    if confined.notes().iter().any(|note| note.contains("cpu")) {
        eprintln!("left out, as this machine gives no cgroup: {:?}", confined.notes());
        return;
    }
    confined.invoke(NOTHING);
    let confined = confined.invoke(work);
    assert_eq!(confined.status, Status::Success);
    // 1,769 MB have one CPU, so 128 MB have 7 % of one. A process also gets at once what it did not use before.
    let least = Duration::from_millis(30) * 1769 / 128 / 2;
    assert!(confined.duration > least, "{confined:?}");
}

#[test]
fn a_missing_feature_is_one_line_and_all_else_works() {
    let lambda = start(healthy().confined().runtime(in_threads()));
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    let notes = lambda.notes();
    let mut told = notes.clone();
    told.dedup();
    assert_eq!(notes, told);
}
