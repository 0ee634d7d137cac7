module github.com/sapwood-mqtt/sapwood

go 1.26.0

require pgregory.net/rapid v1.3.0

require golang.org/x/sys v0.49.0

require (
	github.com/alecthomas/kong v1.17.0
	github.com/danielgtaylor/huma/v2 v2.37.2
	github.com/goccy/go-yaml v1.19.2
	github.com/google/jsonschema-go v0.4.3
	golang.org/x/crypto v0.58.0
)

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/xdg-go/scram v1.4.0
	github.com/xdg-go/stringprep v1.0.4
	golang.org/x/term v0.47.0
)

require golang.org/x/text v0.43.0 // indirect

require (
	github.com/rogpeppe/go-internal v1.16.0
	golang.org/x/tools v0.51.0 // indirect
)
