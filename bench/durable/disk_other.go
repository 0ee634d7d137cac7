//go:build !linux

package main

import (
	"errors"
	"os"
	"time"
)

var errLinux = errors.New("this measurement needs Linux")

func pin(string) error                          { return errLinux }
func threadCPU() (time.Duration, error)         { return 0, errLinux }
func fdatasync(*os.File) error                  { return errLinux }
func forgetPages(*os.File) error                { return errLinux }
func describe(string) (string, error)           { return "", errLinux }
func diskOf(string) (string, error)             { return "?", errLinux }
func flushes(string) (uint64, bool)             { return 0, false }
func resident(int) (now, peak int64, err error) { return 0, 0, errLinux }
func blocks(string) int64                       { return 0 }
func machineLoad() float64                      { return 0 }
