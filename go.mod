module github.com/sapwood-mqtt/sapwood

go 1.26
