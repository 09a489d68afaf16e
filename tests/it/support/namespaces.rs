//! Namespaces for one test that needs its own resolver or addresses, because it must not change the machine's.

use std::env;
use std::fs;
use std::panic::{Location, catch_unwind};
use std::path::Path;
use std::process::Command;

use local_lambda::TempDir;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socket_with};

/// Set in the process that runs inside. It names the file in which that process records the test it ran.
const INSIDE: &str = "IT_IN_NAMESPACES";

const RESOLV_CONF: &str = "search corp.test\nnameserver 127.0.0.1\n";
const HOSTS: &str = "127.0.0.1 localhost only-in-hosts.test\n";

/// Runs the body in a network with only the loopback interface, where 127.0.0.1 is the resolver. For that it
/// starts the test with this name in a new process, because a thread cannot move there without the others. If
/// namespaces are not available, prints that and skips the body.
#[track_caller]
pub fn in_namespaces(test: &str, body: impl FnOnce()) {
    let caller = Location::caller().to_string();
    if let Some(ran) = env::var_os(INSIDE) {
        raise_loopback();
        body();
        return fs::write(ran, caller).unwrap();
    }
    if let Err(why) = check() {
        eprintln!("left out, as this machine gives no namespaces: {why}");
        return;
    }
    let files = TempDir::new().unwrap();
    let [resolv_conf, hosts, ran] = ["resolv.conf", "hosts", "ran"].map(|it| files.path().join(it));
    fs::write(&resolv_conf, RESOLV_CONF).unwrap();
    fs::write(&hosts, HOSTS).unwrap();
    let status = command(&resolv_conf, &hosts)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, &ran)
        .status();
    assert!(status.unwrap().success(), "{test} failed in namespaces; its output is above");
    // If no test had this name, the process would succeed without running one.
    let ran = fs::read_to_string(ran).unwrap_or_else(|_| "nothing".to_owned());
    assert_eq!(ran, caller, "{test} is not the name of the test that runs here");
}

fn check() -> Result<(), String> {
    let tried = command(Path::new("/dev/null"), Path::new("/dev/null")).arg("true").output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A command that runs the rest of its arguments in new namespaces.
fn command(resolv_conf: &Path, hosts: &Path) -> Command {
    const MOUNT: &str = r#"mount --bind "$0" /etc/resolv.conf && mount --bind "$1" /etc/hosts && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--", "sh", "-c", MOUNT]).arg(resolv_conf).arg(hosts);
    command
}

/// Does what `ip link set lo up` does, because not every machine has `ip`.
fn raise_loopback() {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const LOOPBACK: i32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes()); // the message's length
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]); // sequence number and sender
    message.extend([0; 4]); // any family and kind
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // the mask: only this flag changes
    // The protocol is NETLINK_ROUTE, which is 0 and so the default.
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::RAW, flags, None).unwrap();
    assert_eq!(send(&socket, &message, SendFlags::empty()), Ok(message.len()));
}

#[test]
fn a_name_that_matches_no_test_or_several_is_a_failure() {
    if check().is_err() {
        return;
    }
    for other in [
        "support::namespaces::there_is_no_such_test",
        "support::namespaces::a_name_of_another_test",
    ] {
        let runs = || in_namespaces(other, || panic!("this is not what runs inside"));
        assert!(catch_unwind(runs).is_err(), "{other}");
    }
}

#[test]
fn a_name_of_another_test() {
    in_namespaces("support::namespaces::a_name_of_another_test", || {});
}
