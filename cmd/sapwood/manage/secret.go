package manage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sapwood-mqtt/sapwood/cmd/sapwood/screen"
)

// newPassword are the flags by which a command gets a new password. None of them is the password itself: it would stand in
// the process list and in the shell's history.
type newPassword struct {
	Generate      bool `help:"Make a random secret and print it, this one time."`
	PasswordStdin bool `help:"Read the password from standard input, up to the end of the line."`
}

// Verify checks what the flags ask for together.
func (p *newPassword) Verify() error {
	if p.Generate && p.PasswordStdin {
		return errors.New("--generate or --password-stdin, not both")
	}
	return nil
}

// read is the password by the flags, nil with --generate; without a flag a person at a terminal is asked.
func (p *newPassword) read(std *screen.Streams, whose string) (*string, error) {
	switch {
	case p.Generate:
		return nil, nil
	case p.PasswordStdin:
		text, err := io.ReadAll(io.LimitReader(std.In, 64<<10))
		if err != nil {
			return nil, fmt.Errorf("read the password: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			return nil, errors.New("the password on standard input is empty")
		}
		return &line, nil
	}
	in, ok := std.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, errors.New("nobody to ask for the password: give --password-stdin or --generate")
	}
	first, err := prompt(std, in, "Password of "+screen.Printable(whose)+": ")
	if err != nil {
		return nil, err
	}
	again, err := prompt(std, in, "Once more: ")
	if err != nil {
		return nil, err
	}
	if first != again {
		return nil, errors.New("the two are not the same; nothing was changed")
	}
	return &first, nil
}

// prompt asks for a line that is not shown.
func prompt(std *screen.Streams, in *os.File, question string) (string, error) {
	fmt.Fprint(std.Err, question)
	text, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(std.Err)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(text), nil
}

// secretive is somebody with a password, as the API tells of it after a change.
type secretive struct {
	kind, name string
	secret     string // that was made, "" = none
	whole      any    // for JSON
}

// tell prints what was done to it, if nothing went wrong.
func (x *secretive) tell(std *screen.Streams, err error, asJSON bool, done string) error {
	switch {
	case err != nil:
		return err
	case asJSON:
		return screen.JSON(std.Out, x.whole)
	case x.secret != "":
		fmt.Fprintln(std.Err, "the password is shown this one time:")
		_, err = fmt.Fprintln(std.Out, x.secret)
		return err
	}
	_, err = fmt.Fprintf(std.Out, "%s %s: %s\n", x.kind, screen.Printable(x.name), done)
	return err
}
