package app

// Version is the version of Sapwood that this source makes.
const Version = "0.1.0"
