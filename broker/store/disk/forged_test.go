package disk_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
)

// TestForgedBackup restores archives that were made to write elsewhere, each with a manifest whose checksums are right (F192): what is no plain file
// by a name that a backup gives is refused, nothing is written outside of the directory, and nothing stays in it.
func TestForgedBackup(t *testing.T) {
	t.Parallel()
	backup := backedUp(t)
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	for name, h := range map[string]tar.Header{
		"above":               file("../evil"),
		"above the store":     file("store/../evil"),
		"far above":           file("store/../../../evil"),
		"the store itself":    file("store/.."),
		"absolute":            file("/tmp/evil"),
		"absolute in it":      file("store//tmp/evil"),
		"below it":            file("store/x/evil"),
		"a folder's name":     file("store/."),
		"backslash":           file(`store/..\evil`),
		"not of the store":    file("store/evil"),
		"nearly a segment":    file("store/1.seg"),
		"a segment's, longer": file("store/checkpoint-00000001.seg"),
		"secret":              file("local.key"),
		"not asked for":       file("users"),
		"twice":               file("store.json"),
		"symbolic link":       {Name: "store/00000099.seg", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"hard link":           {Name: "store/00000099.seg", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		"link for folder":     {Name: "store", Typeflag: tar.TypeSymlink, Linkname: "/tmp"},
		"folder":              {Name: "store/00000099.seg", Typeflag: tar.TypeDir},
		"device":              {Name: "store/00000099.seg", Typeflag: tar.TypeChar},
		"pipe":                {Name: "store/00000099.seg", Typeflag: tar.TypeFifo},
		"manifest as link":    {Name: "MANIFEST.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			around := t.TempDir()
			dir := filepath.Join(around, "one", "two")
			err := disk.Restore(t.Context(), forge(t, backup.Bytes(), h), dir, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "does not belong") {
				t.Errorf("got %v", err)
			}
			if left := files(t, around); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestRestoreOverLinks: a link that waits in the directory by the name of a file is not followed, and what is not ours stays (F192).
func TestRestoreOverLinks(t *testing.T) {
	t.Parallel()
	backup := backedUp(t)
	around := t.TempDir()
	dir, outside := filepath.Join(around, "data"), filepath.Join(around, "outside")
	if err := os.MkdirAll(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "store", "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "users")); err != nil { // to where there is nothing, so that it looks free
		t.Fatal(err)
	}
	archive := forge(t, backup.Bytes(), tar.Header{Name: "users", Typeflag: tar.TypeReg})
	if err := disk.Restore(t.Context(), archive, dir, nil, nil, "users"); err == nil {
		t.Error("it was restored over a link")
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("the link was followed")
	}
	if left := files(t, around); len(left) != 1 || filepath.Base(left[0]) != "notes" {
		t.Errorf("left: %v", left)
	}
}

// forge is a backup with one entry more before its manifest, which knows it. A manifest stands for itself.
func forge(t *testing.T, backup []byte, more tar.Header) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, text []byte) {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	for r := tar.NewReader(bytes.NewReader(backup)); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != "MANIFEST.json" {
			add(h, text)
			continue
		}
		evil := []byte("evil")
		add(&more, evil)
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(evil)
		m["sha256"].(map[string]any)[more.Name] = hex.EncodeToString(sum[:])
		if text, err = json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		add(h, text)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return &out
	}
}

// files are all files and links below a directory.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// backedUp is the backup of a small store.
func backedUp(t *testing.T) *bytes.Buffer {
	t.Helper()
	s := loaded(t, t.TempDir(), small())
	s.commit(t, put(1))
	var backup bytes.Buffer
	if err := s.Backup(t.Context(), &backup, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	return &backup
}
