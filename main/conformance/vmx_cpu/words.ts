// The words of the cases for what the VMCS numbers: controls and exit reasons.

import {
  cpuControl,
  exitControl,
  exitReason,
  pinControl,
  secondaryControl,
} from '#sim/state/vmcs.ts';

type Field =
  | 'pin_based_vm_exec_control'
  | 'cpu_based_vm_exec_control'
  | 'secondary_vm_exec_control'
  | 'vm_exit_controls';

export interface Control {
  readonly field: Field;
  readonly bit: number;
}

const pin = (bit: number): Control => ({ field: 'pin_based_vm_exec_control', bit });
const primary = (bit: number): Control => ({ field: 'cpu_based_vm_exec_control', bit });
const secondary = (bit: number): Control => ({ field: 'secondary_vm_exec_control', bit });
const exit = (bit: number): Control => ({ field: 'vm_exit_controls', bit });

export const controls: Readonly<Record<string, Control>> = {
  'external-interrupt-exiting': pin(pinControl.EXT_INTR),
  'nmi-exiting': pin(pinControl.NMI),
  'virtual-nmis': pin(pinControl.VIRTUAL_NMIS),
  'preemption-timer': pin(pinControl.PREEMPTION_TIMER),
  'process-posted-interrupts': pin(pinControl.POSTED_INTR),
  'use-tpr-shadow': primary(cpuControl.TPR_SHADOW),
  'use-msr-bitmaps': primary(cpuControl.MSR_BITMAPS),
  'activate-secondary-controls': primary(cpuControl.SECONDARY),
  'cr8-load-exiting': primary(cpuControl.CR8_LOAD),
  'cr8-store-exiting': primary(cpuControl.CR8_STORE),
  'hlt-exiting': primary(cpuControl.HLT),
  'interrupt-window-exiting': primary(cpuControl.INTR_WINDOW),
  'nmi-window-exiting': primary(cpuControl.NMI_WINDOW),
  'unconditional-io-exiting': primary(cpuControl.UNCOND_IO),
  'use-io-bitmaps': primary(cpuControl.IO_BITMAPS),
  'virtualize-apic-accesses': secondary(secondaryControl.VIRTUALIZE_APIC_ACCESSES),
  'virtualize-x2apic-mode': secondary(secondaryControl.VIRTUALIZE_X2APIC_MODE),
  'apic-register-virtualization': secondary(secondaryControl.APIC_REGISTER_VIRT),
  'virtual-interrupt-delivery': secondary(secondaryControl.VIRTUAL_INTR_DELIVERY),
  'acknowledge-interrupt-on-exit': exit(exitControl.ACK_INTR_ON_EXIT),
};

/** Exit reasons that the cases call otherwise than the model, which has the kernel's words. */
const otherNames: Readonly<Record<number, string>> = {
  [exitReason.EOI_INDUCED]: 'VIRTUALIZED_EOI',
};

export const exitNameOf = (reason: number): string | undefined =>
  otherNames[reason] ?? Object.entries(exitReason).find(([, number]) => number === reason)?.[0];
