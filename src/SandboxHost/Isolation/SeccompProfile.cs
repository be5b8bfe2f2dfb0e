using System.Runtime.InteropServices;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>
/// The system calls a sandbox may make: what ordinary programs need and nothing that manages the machine. Whatever is
/// not listed fails with EPERM. Left out on purpose, among others: mount and its new relatives, namespaces (unshare,
/// setns, clone flags), ptrace and process_vm_*, bpf, perf, keyrings, userfaultfd, io_uring, kernel modules, clocks,
/// handles (open_by_handle_at), pidfd_getfd, modify_ldt, quotas, accounting.
/// </summary>
internal static class SeccompProfile
{
    private const string Allow = "SCMP_ACT_ALLOW";
    private const string Refuse = "SCMP_ACT_ERRNO";
    private const string Equal = "SCMP_CMP_EQ";
    private const string MaskedEqual = "SCMP_CMP_MASKED_EQ";
    private const uint EPerm = 1;
    private const uint ENoSys = 38;

    // CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (NEWTIME can only be asked of unshare and clone3).
    private const ulong NamespaceFlags = 0x7E020000;

    private static readonly string[] s_allowed =
    [
        "accept", "accept4", "access", "alarm", "arch_prctl", "bind", "brk", "cachestat", "capget", "capset", "chdir", "chmod", "chown",
        "clock_getres", "clock_gettime", "clock_nanosleep", "close", "close_range", "connect", "copy_file_range", "creat",
        "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
        "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate",
        "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock",
        "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue", "futex_wait",
        "futex_waitv", "futex_wake", "futimesat", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "geteuid", "getgid",
        "getgroups", "getitimer", "get_mempolicy", "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom",
        "getresgid", "getresuid", "getrlimit", "get_robust_list", "getrusage", "getsid", "getsockname", "getsockopt",
        "get_thread_area", "gettid", "gettimeofday", "getuid", "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1",
        "inotify_rm_watch", "io_cancel", "ioctl", "io_destroy", "io_getevents", "io_pgetevents", "ioprio_get", "ioprio_set",
        "io_setup", "io_submit", "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
        "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat",
        "madvise", "map_shadow_stack", "membarrier", "memfd_create", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock",
        "mlock2", "mlockall", "mmap", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend",
        "mq_unlink", "mremap", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap", "nanosleep",
        "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc",
        "pkey_free", "pkey_mprotect", "poll", "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "pselect6",
        "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "recvfrom", "recvmmsg",
        "recvmsg", "remap_file_pages", "removexattr", "rename", "renameat", "renameat2", "restart_syscall", "riscv_hwprobe", "rmdir",
        "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
        "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_get_priority_max",
        "sched_get_priority_min", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
        "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop",
        "sendfile", "sendmmsg", "sendmsg", "sendto", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid",
        "setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "set_robust_list", "setsid",
        "setsockopt", "set_thread_area", "set_tid_address", "setuid", "setxattr", "shmat", "shmctl", "shmdt", "shmget", "shutdown",
        "sigaltstack", "signalfd", "signalfd4", "socketpair", "splice", "stat", "statfs", "statx", "symlink", "symlinkat",
        "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timerfd_create",
        "timerfd_gettime", "timerfd_settime", "timer_getoverrun", "timer_gettime", "timer_settime", "times", "tkill", "truncate",
        "umask", "uname", "unlink", "unlinkat", "utime", "utimensat", "utimes", "vfork", "wait4", "waitid", "write", "writev",
    ];

    internal static OciSeccomp Create()
    {
        var rules = new List<OciSyscall>
        {
            new(s_allowed, Allow),
            new(["clone"], Allow, Args: [new OciSyscallArgument(0, NamespaceFlags, 0, MaskedEqual)]),

            // Its flags are in memory, where a filter can't look; the C library falls back to clone.
            new(["clone3"], Refuse, ENoSys),

            // Families that programs need: unix, IPv4, IPv6, and of netlink only the route queries of getifaddrs.
            new(["socket"], Allow, Args: [new OciSyscallArgument(0, 1, 0, Equal)]),
            new(["socket"], Allow, Args: [new OciSyscallArgument(0, 2, 0, Equal)]),
            new(["socket"], Allow, Args: [new OciSyscallArgument(0, 10, 0, Equal)]),
            new(["socket"], Allow, Args: [new OciSyscallArgument(0, 16, 0, Equal), new OciSyscallArgument(2, 0, 0, Equal)]),
        };

        // personality: only the values that setarch and the JVM's and Wine's start code ask for, as in Docker's profile.
        foreach (var value in (ulong[])[0x0, 0x8, 0x20000, 0x20008, 0xffffffff])
        {
            rules.Add(new OciSyscall(["personality"], Allow, Args: [new OciSyscallArgument(0, value, 0, Equal)]));
        }

        var architecture = RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => "SCMP_ARCH_X86_64",
            Architecture.Arm64 => "SCMP_ARCH_AARCH64",
            var other => throw new SandboxHostException(
                SandboxHostFault.CannotIsolate,
                $"there is no seccomp profile for the processor type {other}; x86-64 and arm64 are supported"),
        };
        return new OciSeccomp(Refuse, EPerm, [architecture], rules);
    }
}
