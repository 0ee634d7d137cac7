package app

import "golang.org/x/sys/unix"

// unsafeFor names the kind of file system that a directory is on, where a sync there does not mean what it says;
// "" where nothing speaks against it.
func unsafeFor(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return "" // whoever opens it will say what is wrong
	}
	return unsafeKind(int64(s.Type))
}

// unsafeKind judges the magic number of a file system.
func unsafeKind(magic int64) string {
	switch uint32(magic) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS: locks and syncs depend on the server and its mount options"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB: locks and syncs depend on the server and its mount options"
	case unix.V9FS_MAGIC:
		return "9p: syncs depend on the host"
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return "a file system in memory: nothing there survives a reboot"
	}
	return ""
}
