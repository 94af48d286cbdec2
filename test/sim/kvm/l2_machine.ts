// A machine that stands in L2, as KVM leaves it when the entry is over.

import { boot } from '#sim/boot.ts';
import { alloc_page } from '#sim/host/frames.ts';
import { readFrame, writeFrame } from '#sim/hw/memory.ts';
import { ON, offsetOfControl } from '#sim/hw/posted_interrupts.ts';
import { APIC_IRR } from '#sim/state/apicdef.ts';
import { pfn_to_hpa } from '#sim/state/machine.ts';
import type { MachineConfig } from '#sim/state/machine_config.ts';
import { mappingKind } from '#sim/state/nested.ts';
import { POSTED_INTR_NESTED_VECTOR } from '#sim/state/pi_desc.ts';
import { loadedVmcs } from '#sim/state/vcpu.ts';
import { cpuControl, exitControl, pinControl, secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, configOf, type SmallMachine } from '../small_machine.ts';

/** The notification vector that L1 has chosen. */
export const NV = 0x40;

export interface L2Wishes extends SmallMachine {
  /** what L1 asks for, with NV as notification; all of it by default */
  readonly pin?: readonly number[];
  readonly secondary?: readonly number[];
  readonly ackOnExit?: boolean;
  readonly vm?: MachineConfig['vm'];
}

const everything = [pinControl.EXT_INTR, pinControl.NMI, pinControl.POSTED_INTR];

type HostMap = Machine['vcpu'][number]['nested']['pi_desc_map'];

const mapNew = (m: Machine, map: HostMap): number => {
  map.pfn = alloc_page(m);
  map.mapping = mappingKind.KMAP;
  return pfn_to_hpa(map.pfn);
};

const layVmcs12 = (m: Machine, { pin = everything, secondary, ackOnExit = true }: L2Wishes) => {
  const { cached_vmcs12: vmcs12 } = m.vcpu[0]!.nested;
  for (const bit of pin) vmcs12.pin_based_vm_exec_control.set(bit);
  vmcs12.cpu_based_vm_exec_control.set(cpuControl.SECONDARY);
  vmcs12.cpu_based_vm_exec_control.set(cpuControl.TPR_SHADOW);
  for (const bit of secondary ?? [secondaryControl.VIRTUAL_INTR_DELIVERY]) {
    vmcs12.secondary_vm_exec_control.set(bit);
  }
  if (ackOnExit) vmcs12.vm_exit_controls.set(exitControl.ACK_INTR_ON_EXIT);
  vmcs12.posted_intr_nv = NV;
};

/** vCPU 0 in L2 with its pages mapped, interrupts on and nothing pending. */
export const l2Machine = (wishes: L2Wishes = {}): Machine => {
  const config = configOf({ memoryPages: 4, profile: 'k7.0', ...wishes });
  const m = boot({ ...config, vm: { nested: true, ...wishes.vm } });
  byHand(m, () => {
    const vcpu = m.vcpu[0]!;
    const { nested, vmcs02, apic } = vcpu;
    apic.spiv = 0x1ff;
    apic.sw_enabled = true;
    vcpu.guest.rflags_if = true;
    vcpu.requests.clearAll();
    layVmcs12(m, wishes);
    nested.vmxon = true;
    vcpu.guest_mode = true;
    vcpu.loaded_vmcs = loadedVmcs.VMCS02;
    vmcs02.virtual_apic_page_addr = mapNew(m, nested.virtual_apic_map);
    vmcs02.posted_intr_desc_addr = mapNew(m, nested.pi_desc_map);
    vmcs02.posted_intr_nv = POSTED_INTR_NESTED_VECTOR;
    const posted = nested.cached_vmcs12.pin_based_vm_exec_control.has(pinControl.POSTED_INTR);
    nested.posted_intr_nv = posted ? NV : -1;
  });
  return m;
};

/** L1 posts a vector to its L2: PIR and ON. */
export const post = (m: Machine, vector: number): void =>
  byHand(m, () => {
    const { pfn } = m.vcpu[0]!.nested.pi_desc_map;
    const word = (vector >>> 5) * 4;
    writeFrame(m, pfn, word, readFrame(m, pfn, word) | (1 << (vector & 31)));
    writeFrame(m, pfn, offsetOfControl, ON);
  });

export const isPosted = (m: Machine, vector: number): boolean =>
  (readFrame(m, m.vcpu[0]!.nested.pi_desc_map.pfn, (vector >>> 5) * 4) & (1 << (vector & 31))) !==
  0;

export const isOn = (m: Machine): boolean =>
  (readFrame(m, m.vcpu[0]!.nested.pi_desc_map.pfn, offsetOfControl) & ON) !== 0;

/** Is a vector in VIRR of L2? */
export const isRequestedOfL2 = (m: Machine, vector: number): boolean => {
  const { pfn } = m.vcpu[0]!.nested.virtual_apic_map;
  return (readFrame(m, pfn, APIC_IRR + (vector >>> 5) * 16) & (1 << (vector & 31))) !== 0;
};

/** A vector in IRR of L1. */
export const requestOfL1 = (m: Machine, vector: number): void =>
  byHand(m, () => {
    m.vcpu[0]!.apic.irr.set(vector);
    m.vcpu[0]!.apic.irr_pending = true;
  });
