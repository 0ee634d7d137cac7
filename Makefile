# What takes longer than a change can wait for. Everything else is in .ci/run.

# Faults of each kind; 40 take about five minutes on two cores.
CYCLES ?= 40
# Ends of a broker on a simulated disk; 300 take about four minutes.
POWER ?= 300

.PHONY: chaos mutants

# The broker under load is killed, paused, and its disk fills and fails; figures go into docs/reliability.md.
chaos:
	go test ./test/chaos -count=1 -v -tags mosquitto -timeout 0 -args -cycles $(CYCLES) -report -power.cycles $(POWER) -power.report

# Broken variants of the broker, each of which test/chaos has to find out.
mutants:
	go test ./test/chaos/mutants -count=1 -v -timeout 0 -args -all -report
