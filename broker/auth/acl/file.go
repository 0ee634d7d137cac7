package acl

import (
	"fmt"
	"os"
)

// File is a Mosquitto ACL file whose rules an engine has. Its methods may not be called at the same time.
type File struct {
	path   string
	engine *Engine
}

// OpenFile reads a Mosquitto ACL file into e. A file that cannot be read or understood is an error, and nothing is
// allowed by it.
func OpenFile(e *Engine, path string) (*File, error) {
	f := &File{path: path, engine: e}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Files are the files that Reload reads.
func (f *File) Files() []string { return []string{f.path} }

// Reload reads the file again. On an error the rules stay as they are.
func (f *File) Reload() error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("read the ACL file: %w", err)
	}
	rules, err := ParseMosquitto(f.path, text)
	if err != nil {
		return err
	}
	return f.engine.Set("acl_file "+f.path, rules)
}
