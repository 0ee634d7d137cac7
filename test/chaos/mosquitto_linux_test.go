//go:build mosquitto

package chaos

import (
	"os/exec"
	"testing"

	"github.com/sapwood-mqtt/sapwood/test/chaos/process"
)

// TestMosquitto: the checker sees what a broker loses that is known to lose what it acknowledged when it is killed,
// because it saves only now and then.
func TestMosquitto(t *testing.T) {
	mosquitto, err := exec.LookPath("mosquitto")
	if err != nil {
		t.Fatal(err)
	}
	r := perform(t, process.Mosquitto(mosquitto), process.Modes()[0], 2, chance())
	if r.Failure != nil {
		t.Fatal(r.Failure)
	}
	if r.Lost < 100 {
		t.Errorf("it was killed twice and lost %d of %d acknowledged messages: it should be hundreds", r.Lost, r.Acknowledged)
	}
}
