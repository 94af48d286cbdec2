/** The PID-pointer table: where IPI virtualization finds the descriptor of a virtual APIC ID. */
import { alloc_page } from '../../host/frames.ts';
import { writePhysical } from '../../hw/memory.ts';
import { hpaOfPiDesc } from '../../state/addresses.ts';
import { PAGE_SIZE, pfn_to_hpa } from '../../state/machine.ts';
import { tertiaryControl } from '../../state/vmcs.ts';
import type { Machine } from '../../steps.ts';

const PID_TABLE_ENTRY_VALID = 1;
const entryBytes = 8;
const TWO_32 = 0x1_0000_0000;

/**
 * An empty table.
 * @kvm arch/x86/kvm/vmx/vmx.c
 * @omits tables of more than one page: IDs from 512 on have no entry
 */
export const vmx_alloc_ipiv_pid_table = (m: Machine): void => {
  m.vm.pid_table = pfn_to_hpa(alloc_page(m));
};

/** IDs end where KVM_CAP_MAX_VCPU_ID says, or the last one that there is; the table at a page. */
const lastIndex = (m: Machine): number => {
  const needed = 1 + Math.max(...m.vcpu.map(({ vcpu_id }) => vcpu_id));
  return Math.min(PAGE_SIZE / entryBytes, m.config.vm?.maxVcpuIds ?? needed) - 1;
};

/** A new vCPU gets its entry. @kvm arch/x86/kvm/vmx/vmx.c: vmx_vcpu_create */
export const setPidPointer = (m: Machine, vcpu: number): void => {
  const { vcpu_id: id } = m.vcpu[vcpu]!;
  if (id >= PAGE_SIZE / entryBytes) return;
  const entry = m.vm.pid_table + entryBytes * id;
  const descriptor = hpaOfPiDesc(vcpu);
  writePhysical(m, entry, (descriptor % TWO_32) + PID_TABLE_ENTRY_VALID);
  writePhysical(m, entry + 4, Math.floor(descriptor / TWO_32));
};

/** Once all vCPUs have their IDs. @kvm arch/x86/kvm/vmx/vmx.c: init_vmcs */
export const writePidTable = (m: Machine): void => {
  for (const { vmcs01, apic } of m.vcpu) {
    vmcs01.pid_pointer_table = m.vm.pid_table;
    vmcs01.last_pid_pointer_index = lastIndex(m);
    if (apic.apicv_active) vmcs01.tertiary_vm_exec_control.set(tertiaryControl.IPI_VIRT);
  }
};
