// Package harness runs a fault test: users who send each other numbered messages
// by the command line, consumers who read them, and meanwhile daemons, consumers
// and the server that are killed or frozen and lines that are cut, slowed and
// lied on. What was seen goes into a ledger, which is judged at the end.
//
// [Run] owns every goroutine and process of its run. All choices follow from the
// seed; what happens at which moment depends on the machine, too.
package harness
