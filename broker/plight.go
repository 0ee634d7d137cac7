package broker

import (
	"errors"
	"syscall"

	"github.com/sapwood-mqtt/sapwood/broker/store"
)

// plight is why the store takes nothing new, for clients: in fixed words, as its error may name our files. The error itself goes to the
// log, Ready, traces and events.
func plight(err error) string {
	const nothing = "the store takes nothing new: "
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return nothing + "the disk is full"
	case errors.Is(err, store.ErrFull):
		return nothing + "it is full"
	case errors.Is(err, syscall.EROFS):
		return nothing + "the disk is read-only"
	case errors.Is(err, syscall.EIO):
		return nothing + "the disk has errors"
	case errors.Is(err, store.ErrClosed):
		return nothing + "it is closed"
	}
	return nothing + "it cannot be written"
}
