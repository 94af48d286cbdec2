/** Help: actors, their stacks and their programs. */
import { Actor, Local, LoopCounter, StackFrame } from '../actor.ts';
import { BufferedStore } from '../store_buffer.ts';
import { helpFor } from './form.ts';

export const actorHelp = [
  helpFor(Local, {
    source: 'the model: a register of the actor, main/sim/steps.ts',
    by: 'the runner, as the step begins',
  }),
  helpFor(StackFrame, {
    source: 'the model: the call stack, main/sim/steps.ts',
    by: 'the runner, at each call and step',
  }),
  helpFor(LoopCounter, {
    source: 'the model: repeat of the scenario language',
    by: '`skipLoops`, whoever runs the program',
  }),
  helpFor(BufferedStore, {
    source: 'the model: x86-TSO, main/sim/store_buffer.ts',
    by: '`bufferStore`, for a store behind which the scenario has no barrier; `drainOldest`',
  }),
  helpFor(
    Actor,
    { source: 'the model: main/sim/steps.ts' },
    {
      state: 'the runner, when a step ends in waiting or in the end of the actor',
      level: '`enterGuest` and `leaveGuest`: VM entry and VM exit',
      pc:
        '`guestInstruction`, `skipLoops`, what emulates an instruction for the guest ' +
        '(`x86_emulate_instruction`, `complete_emulated_mmio`, `handle_apic_access`, ' +
        '`handle_fastpath_set_msr_irqoff`, ' +
        '`kvm_emulate_rdmsr`, `kvm_emulate_wrmsr`, `kvm_emulate_halt`, ' +
        '`kvm_emulate_hypercall`, of VMX instructions `skipInstruction`), between L1 and L2 ' +
        '`enterL2Registers` and `restoreL1Registers`, `takeInterrupt`, `enter_smm`, ' +
        '`kvm_vcpu_reset`; of other actors `scenarioProgram`',
      stores: {
        by: '`bufferStore`, for a store behind which the scenario has no barrier; `drainOldest`',
        source: 'the model: x86-TSO, main/sim/store_buffer.ts',
      },
      depth: 'the runner, at each call and return',
      errno: {
        by:
          '`answer`, after an ioctl of user space; of a vCPU what fails KVM_RUN: ' +
          '`handle_ept_violation`',
        source: 'the model: what the system call gave',
      },
    },
  ),
];
