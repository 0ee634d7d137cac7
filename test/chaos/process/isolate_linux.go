package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolated tells a process that Isolate has made its namespace.
const isolated = "CHAOS_ISOLATED"

// Isolate runs this program again, with the same arguments, where it may mount file systems that nobody else sees and that
// are gone with it: in a mount namespace of its own, and for those who are not root a user namespace too. It returns
// done in the outer process, with the exit code of the inner one; the inner one goes on. Where the system does not allow it the program
// goes on as it is, and Mounts tells so.
func Isolate() (code int, done bool, err error) {
	if os.Getenv(isolated) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return 0, false, fmt.Errorf("make mounts private: %w", err)
		}
		return 0, false, nil
	}
	self, err := os.Executable()
	if err != nil {
		return 0, false, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, fmt.Errorf("run isolated: %w", err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), true, nil
	}
	return 0, true, err
}

// Mounts tells whether this process may mount what the modes for disks need.
func Mounts() bool { return os.Getenv(isolated) != "" }
