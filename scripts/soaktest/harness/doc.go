// Package harness runs a fault test: users send each other numbered messages with the command line, and
// consumers read them, while daemons, consumers and the server are killed or frozen, and connections
// are cut, slowed and tampered with. The observations go into a ledger, which is judged at the end.
//
// [Run] owns every goroutine and process of its run. The seed determines all choices; their timing also
// depends on the machine.
package harness
