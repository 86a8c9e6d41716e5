/* The least that is a plugin, to see that the header compiles. */
#include <byoc.h>

static byoc_error *compile(byoc_compile_args *args) {
    byoc_region_info_args info;
    BYOC_CHECK(byoc_info(args->region, &info));
    return byoc_fail(BYOC_ERROR_UNSUPPORTED, "this plugin compiles nothing");
}

static byoc_error *execute(byoc_execute_args *args) {
    (void)args;
    return NULL;
}

static void destroy(void *executable) {
    (void)executable;
}

BYOC_PLUGIN("minimal", "0.1.0", "[vendor]\nname = \"minimal\"\n", compile, execute, destroy);
