//! The local Lambda's parts without free descriptors or memory. They wait, or lose one connection.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use local_lambda::agent;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tempfile::TempDir;

use crate::SOON;
use crate::collector::{end, port, start};

fn limit(child: &Child, resource: Resource, most: Option<u64>) {
    // The child inherits this process's maximum, which only root may raise.
    let limit = Rlimit { current: most, maximum: getrlimit(resource).maximum };
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    prlimit(pid, resource, limit).unwrap();
}

fn descriptors(child: &Child) -> u64 {
    fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count().try_into().unwrap()
}

fn address_space_bytes(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_double_without_a_free_descriptor_accepts_again_once_there_is_one() {
    const MORE: u64 = 4;
    let home = TempDir::new().unwrap();
    let (child, announced) = start(&home, &[]);
    let most = descriptors(&child) + MORE;
    limit(&child, Resource::Nofile, Some(most));
    let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port(&announced))).unwrap();
    let connections: Vec<TcpStream> = (0..2 * MORE).map(connect).collect();
    let deadline = Instant::now() + SOON;
    while descriptors(&child) < most {
        assert!(Instant::now() < deadline, "{} of {most}", descriptors(&child));
        thread::park_timeout(Duration::from_millis(1));
    }
    drop(connections);
    assert_eq!(agent::post(port(&announced), "/v1/monitoring-data", b"[]").status, 200);
    end(child);
}

#[test]
fn a_connection_for_which_there_is_no_thread_is_closed_and_later_ones_are_served() {
    /// For the allocations of an accept. A thread's stack of 2 MiB does not fit.
    const SPARE_BYTES: u64 = 1024 * 1024;
    let home = TempDir::new().unwrap();
    let (child, announced) = start(&home, &[]);
    limit(&child, Resource::As, Some(address_space_bytes(&child) + SPARE_BYTES));
    let mut refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port(&announced))).unwrap();
    refused.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    limit(&child, Resource::As, getrlimit(Resource::As).current);
    assert_eq!(agent::post(port(&announced), "/v1/monitoring-data", b"[]").status, 200);
    end(child);
}
