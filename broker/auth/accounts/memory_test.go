package accounts_test

import (
	"testing"

	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts"
	"github.com/sapwood-mqtt/sapwood/broker/auth/accounts/accountstest"
)

func TestMemory(t *testing.T) {
	accountstest.Run(t, func(*testing.T) accounts.Store { return accounts.NewMemory() })
}
