module github.com/sapwood-mqtt/sapwood

go 1.26

require pgregory.net/rapid v1.3.0
