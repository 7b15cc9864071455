//! The resources that processes and their descendants use, according to `/proc`.

use std::{collections::HashMap, fs};

/// Returns the CPU time of all threads in nanoseconds. The time is taken from `schedstat`, which is
/// exact, whereas the times in `/proc/PID/stat` are sampled at timer ticks and can miss periodic
/// load.
pub(crate) fn cpu(pids: &[u32]) -> u64 {
    let of_thread = |task: fs::DirEntry| -> Option<u64> {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse().ok()
    };
    let of_process = |pid: u32| -> u64 {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(of_thread)
            .sum()
    };
    with_children(pids).into_iter().map(of_process).sum()
}

/// Returns the resident memory in KiB.
pub(crate) fn resident(pids: &[u32]) -> u64 {
    let of_process = |pid: u32| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    with_children(pids).into_iter().filter_map(of_process).sum()
}

fn with_children(pids: &[u32]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(child) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            && let Some(parent) = parent(child)
        {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut family = pids.to_vec();
    let mut next = 0;
    while let Some(parent) = family.get(next) {
        family.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    family
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The fields follow the process name, which is in parentheses and can itself contain
    // parentheses, so look for the last closing parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
