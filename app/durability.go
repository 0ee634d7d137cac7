package app

import (
	"strings"

	"github.com/sapwood-mqtt/sapwood/broker/store/disk"
)

// Durability is what an acknowledged message survives, and with it everything else that is kept: there is no
// exception by feature.
type Durability string

// The levels.
const (
	Fsync   = Durability(disk.Fsync)
	Process = Durability(disk.Process)
	Memory  = Durability("memory")
)

// The promises: the same words wherever a level is explained.
const (
	promiseFsync   = "acknowledged once synced to disk (fdatasync); survives kill -9 and power loss"
	promiseProcess = "acknowledged once written to disk; survives kill -9 and a crash, may lose at most " + window + " at power loss"
	promiseMemory  = "in memory only; a restart forgets sessions, subscriptions, queues and retained messages"
)

// window stands in a promise for the time that a power cut may take.
const window = "{storage.sync_interval}"

// Doc explains all levels, for the file, the schema and `config explain`.
func (Durability) Doc() string {
	return "What an acknowledged message survives, and with it sessions, subscriptions, queues, QoS 2 state, retained messages and wills." +
		" fsync: " + promiseFsync + ". process: " + promiseProcess + ". memory: " + promiseMemory + "."
}

// Promise is what the configured level promises.
func (c *Config) Promise() string {
	switch c.Durability {
	case Fsync:
		return promiseFsync
	case Process:
		interval := c.Storage.SyncInterval.String()
		if strings.HasSuffix(interval, "m0s") { // as settings are written
			interval = strings.TrimSuffix(interval, "0s")
		}
		return strings.ReplaceAll(promiseProcess, window, interval)
	}
	return promiseMemory
}
