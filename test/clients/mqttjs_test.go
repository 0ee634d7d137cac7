package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// node is the process that holds all mqtt.js clients; js/driver.js is its other end.
type node struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu      sync.Mutex
	n       int
	answers map[int]chan answer
	clients map[int]options
}

// command is one line to the driver; which fields matter depends on Op.
type command struct {
	N         int      `json:"n"`
	Op        string   `json:"op"`
	C         int      `json:"c"` // the client
	Version   byte     `json:"version,omitempty"`
	URL       string   `json:"url,omitempty"`
	CA        string   `json:"ca,omitempty"` // the file
	User      string   `json:"user,omitempty"`
	Password  string   `json:"password,omitempty"`
	ID        string   `json:"id,omitempty"`
	Keep      bool     `json:"keep,omitempty"`
	Reconnect bool     `json:"reconnect,omitempty"`
	Will      *message `json:"will,omitempty"`
	Aliases   uint16   `json:"aliases"`
	Filter    string   `json:"filter,omitempty"`
	QoS       byte     `json:"qos"`
	Message   *message `json:"message,omitempty"`
}

// answer is one line from the driver.
type answer struct {
	Re         int      `json:"re"`
	C          int      `json:"c"`
	Message    *message `json:"message"`
	Disconnect *byte    `json:"disconnect"`
	Present    bool     `json:"present"`
	Code       byte     `json:"code"`
	Error      string   `json:"error"`
}

func startNode() (*node, error) {
	if _, err := os.Stat("js/node_modules/mqtt"); err != nil {
		return nil, fmt.Errorf("mqtt.js is not there (%w): run npm ci in test/clients/js", err)
	}
	n := &node{cmd: exec.Command("node", "js/driver.js"), answers: map[int]chan answer{}, clients: map[int]options{}}
	n.cmd.Stderr = os.Stderr
	var err error
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go n.read(json.NewDecoder(out))
	return n, nil
}

// read hands on what the driver says, until it ends.
func (n *node) read(d *json.Decoder) {
	for {
		var a answer
		if err := d.Decode(&a); err != nil {
			return
		}
		n.mu.Lock()
		answers, client := n.answers[a.Re], n.clients[a.C]
		delete(n.answers, a.Re)
		n.mu.Unlock()
		switch {
		case a.Message != nil:
			client.receive(*a.Message)
		case a.Disconnect != nil:
			if client.told != nil {
				client.told(*a.Disconnect)
			}
		case answers != nil:
			answers <- a
		}
	}
}

// start gives a command and returns where its answer will come.
func (n *node) start(c command) <-chan answer {
	done := make(chan answer, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.n++
	c.N = n.n
	n.answers[c.N] = done
	line, err := json.Marshal(c)
	if err == nil {
		_, err = n.in.Write(append(line, '\n'))
	}
	if err != nil {
		done <- answer{Error: err.Error()}
	}
	return done
}

// do gives a command and waits for its answer.
func (n *node) do(c command) (answer, error) {
	select {
	case a := <-n.start(c):
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-time.After(patience):
		return answer{}, fmt.Errorf("mqtt.js: %s: no answer within %v", c.Op, patience)
	}
}

// stop ends the process.
func (n *node) stop() error {
	n.in.Close()
	return n.cmd.Wait()
}

// js is a client of mqtt.js.
type js struct {
	c       int
	session bool
}

func dialJS(_ context.Context, version byte, o options) (client, error) {
	env.node.mu.Lock()
	env.node.n++
	c := env.node.n
	env.node.clients[c] = o
	env.node.mu.Unlock()
	a, err := env.node.do(command{
		Op: "connect", C: c, Version: version, URL: o.url(), CA: authority(), User: o.user, Password: o.password, ID: o.id,
		Keep: o.keep, Reconnect: o.reconnect, Will: o.will, Aliases: o.aliases,
	})
	return &js{c, a.Present}, err
}

func (c *js) present() bool { return c.session }

func (c *js) subscribe(filter string, qos byte) (byte, error) {
	a, err := env.node.do(command{Op: "subscribe", C: c.c, Filter: filter, QoS: qos})
	return a.Code, err
}

func (c *js) unsubscribe(filter string) error {
	_, err := env.node.do(command{Op: "unsubscribe", C: c.c, Filter: filter})
	return err
}

func (c *js) publish(m message) <-chan outcome {
	answers := env.node.start(command{Op: "publish", C: c.c, Message: &m})
	done := make(chan outcome, 1)
	go func() {
		a := <-answers
		if a.Error != "" {
			done <- outcome{err: errors.New(a.Error)}
			return
		}
		done <- outcome{code: a.Code}
	}()
	return done
}

func (c *js) close() error {
	_, err := env.node.do(command{Op: "close", C: c.c})
	return err
}
