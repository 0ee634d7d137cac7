package api

import "time"

// Overview is what GET /api/v1/status tells: one look at the process.
type Overview struct {
	Version    string    `json:"version"`
	Started    time.Time `json:"started"`
	Uptime     float64   `json:"uptime_seconds"`
	Durability string    `json:"durability" enum:"fsync,process,memory"`
	Promise    string    `json:"promise" doc:"What the durability promises, in the words of the documentation."`
	Ready      bool      `json:"ready" doc:"As /readyz says."`
	Reason     string    `json:"reason,omitempty" doc:"Why it is not ready."`
	Warnings   []string  `json:"warnings,omitempty" doc:"What weakens a promise, such as a data directory on a network file system."`
	Overload   Overload  `json:"overload"`
	Counts     Counts    `json:"counts"`
	Store      *Disk     `json:"store,omitempty" doc:"The store on disk in short; GET /api/v1/store tells all. Absent with durability memory."`
}

// Counts are how many of everything there are.
type Counts struct {
	Connected      int64  `json:"connected" doc:"Clients."`
	Sessions       int64  `json:"sessions" doc:"Connected or waiting to be resumed."`
	Subscriptions  int    `json:"subscriptions"`
	Retained       int    `json:"retained" doc:"Messages, without $SYS."`
	RetainedBytes  int64  `json:"retained_bytes" doc:"Topic, properties, payload and 128 for each: what limits.max_retained_bytes bounds."`
	QueuedMessages int    `json:"queued_messages" doc:"Kept for sessions that last; one that waits for many is counted once."`
	QueuedBytes    int64  `json:"queued_bytes" doc:"Of all sessions, counted for each."`
	StoreErrors    uint64 `json:"store_errors" doc:"Batches that could not be kept and were not acknowledged."`
	WrongLogins    uint64 `json:"wrong_logins" doc:"Wrong credentials for this API."`
}

// Disk is the store on disk in short.
type Disk struct {
	Dir     string `json:"dir"`
	Health  string `json:"health" doc:"ok, or why publishes with QoS 1 and 2 are refused."`
	Bytes   int64  `json:"bytes" doc:"On disk."`
	Live    int64  `json:"live_bytes" doc:"Of those, what is still needed, about."`
	Free    int64  `json:"free_bytes" doc:"Left on the file system; -1 = not known."`
	Damaged int    `json:"damaged" doc:"Parts found damaged since the start; they are set aside."`
}

// Overload is what is shed at present.
type Overload struct {
	Shed string `json:"shed" doc:"What is shed: all up to it, in the order normal, connects, QoS 0, publishes."`
	Why  string `json:"why,omitempty"`
}
