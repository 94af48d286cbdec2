// A machine whose guest is a hypervisor: its first vCPU has its caches, and no L2 runs yet.

import { boot } from '#sim/boot.ts';
import { pteOf } from '#sim/host/page_table.ts';
import { initCaches } from '#sim/kvm/vmx/nested/context.ts';
import { hvaOfGuestPage } from '#sim/state/addresses.ts';
import type { VmConfig } from '#sim/state/machine_config.ts';
import { loadedVmcs } from '#sim/state/vcpu.ts';
import { cpuControl, pinControl, secondaryControl } from '#sim/state/vmcs.ts';
import type { Machine } from '#sim/steps.ts';
import { byHand, configOf } from '../small_machine.ts';

export const pages = { access: 4, vapic: 5, descriptor: 6, bitmap: 7 } as const;
export const gpaOf = (page: number): number => page * 4096;
export const hvaOf = hvaOfGuestPage;

export interface Wishes {
  readonly profile?: string;
  readonly switches?: Readonly<Record<string, string>>;
  readonly guestMemory?: VmConfig['guestMemory'];
}

export const machineOfL1 = ({ profile = 'gpc-v1', switches = {}, guestMemory }: Wishes = {}) => {
  const small = { vcpus: 2, memoryPages: 9, profile, switches };
  const m = boot({
    ...configOf(small),
    vm: { nested: true, ...(guestMemory === undefined ? {} : { guestMemory }) },
  });
  byHand(m, () => {
    initCaches(m, { vcpu: 0, context: -1 });
    for (const vcpu of m.vcpu) vcpu.requests.clearAll();
  });
  return m;
};

/** The frame that backs a page of guest memory now, −1 if none does. */
export const frameOf = (m: Machine, page: number): number => {
  const pte = m.pte[pteOf(m, hvaOf(page))]!;
  return pte.present ? pte.pfn : -1;
};

/** vmcs02 is loaded, L2 is active, and vmcs12 uses every page. */
export const enterL2ByHand = (m: Machine): void => {
  byHand(m, () => {
    const vcpu = m.vcpu[0]!;
    const { cached_vmcs12: vmcs12 } = vcpu.nested;
    vcpu.guest_mode = true;
    vcpu.loaded_vmcs = loadedVmcs.VMCS02;
    vcpu.nested.vmxon = true;
    for (const vmcs of [vmcs12, vcpu.vmcs02]) {
      vmcs.cpu_based_vm_exec_control.set(cpuControl.SECONDARY);
      vmcs.cpu_based_vm_exec_control.set(cpuControl.TPR_SHADOW);
      vmcs.pin_based_vm_exec_control.set(pinControl.EXT_INTR);
      vmcs.pin_based_vm_exec_control.set(pinControl.POSTED_INTR);
      vmcs.secondary_vm_exec_control.set(secondaryControl.VIRTUALIZE_APIC_ACCESSES);
    }
    vmcs12.cpu_based_vm_exec_control.set(cpuControl.MSR_BITMAPS);
    vmcs12.apic_access_addr = gpaOf(pages.access);
    vmcs12.virtual_apic_page_addr = gpaOf(pages.vapic);
    vmcs12.posted_intr_desc_addr = gpaOf(pages.descriptor) + 0x40;
    vmcs12.msr_bitmap = gpaOf(pages.bitmap);
  });
};
