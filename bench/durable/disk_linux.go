package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pin binds the calling thread to a core.
func pin(core string) error {
	n, err := strconv.Atoi(core)
	if err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(n)
	return unix.SchedSetaffinity(0, &set)
}

// threadCPU is what the calling thread has used.
func threadCPU() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano()), err
}

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// forgetPages drops what the page cache holds of a file that is written back.
func forgetPages(f *os.File) error { return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// tmpfs is a file system without a disk.
const tmpfs = 0x01021994

// describe names the disk that dir is on.
func describe(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	if fs.Type == tmpfs {
		return "", fmt.Errorf("%s is in memory: choose a directory on a disk with -dir", dir)
	}
	names := map[int64]string{0xEF53: "ext4", 0x58465342: "xfs", 0x9123683E: "btrfs", 0x794c7630: "overlay"}
	name, known := names[fs.Type]
	if !known {
		name = fmt.Sprintf("file system %#x", fs.Type)
	}
	device, _ := diskOf(dir)
	return name + " on " + device, nil
}

// diskOf is the name in /proc/diskstats of the device that dir is on; "?" when it has none.
func diskOf(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "?", err
	}
	b, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return "?", err
	}
	major, minor := strconv.Itoa(int(unix.Major(st.Dev))), strconv.Itoa(int(unix.Minor(st.Dev)))
	for line := range bytes.Lines(b) {
		if f := strings.Fields(string(line)); len(f) > 3 && f[0] == major && f[1] == minor {
			return f[2], nil
		}
	}
	return "?", nil
}

// flushes is how many flush requests the device has completed; false where the kernel does not tell.
func flushes(device string) (uint64, bool) {
	b, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		// Field 19, from 1, of the kernel's Documentation/admin-guide/iostats.rst behind number and name.
		if f := strings.Fields(string(line)); len(f) >= 20 && f[2] == device {
			n, err := strconv.ParseUint(f[18], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// resident reads the process's memory, now and its highest so far, in bytes.
func resident(pid int) (now, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kb, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		switch f[0] {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			peak = kb << 10
		}
	}
	return now, peak, nil
}

// blocks is what a file takes on disk, in bytes.
func blocks(name string) int64 {
	var st unix.Stat_t
	if unix.Lstat(name, &st) != nil {
		return 0 // gone meanwhile
	}
	return st.Blocks * 512
}

// machineLoad is the mean number of tasks that ran or waited for the disk in the last minute.
func machineLoad() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64) // 0 where it is not a number: nobody knows
	return v
}
