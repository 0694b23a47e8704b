// Command validate judges a bundle as the catalogs of operators do, for the tests: one line for each error and each
// warning, with the validator that it is from. It fails where there is an error.
package main

import (
	"fmt"
	"os"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	"github.com/operator-framework/api/pkg/validation/errors"
	interfaces "github.com/operator-framework/api/pkg/validation/interfaces"
	"github.com/operator-framework/operator-registry/pkg/lib/bundle"
	"github.com/sirupsen/logrus"
)

// named is a validator with the name that operator-sdk gives it.
type named struct {
	name      string
	validator interfaces.Validator
}

// validators are those of operator-sdk: the default ones, the suite operatorframework, and those that it has besides,
// but for multiarch, which has Docker fetch the images.
var validators = []named{
	{"csv", validation.ClusterServiceVersionValidator},
	{"crd", validation.CustomResourceDefinitionValidator},
	{"bundle", validation.BundleValidator},
	{"operatorhub", validation.OperatorHubV2Validator},
	{"capabilities", validation.StandardCapabilitiesValidator},
	{"categories", validation.StandardCategoriesValidator},
	{"good-practices", validation.GoodPracticesValidator},
	{"alpha-deprecated-apis", validation.AlphaDeprecatedAPIsValidator},
	{"community", validation.CommunityOperatorValidator},
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: validate BUNDLE KUBERNETES-VERSION, as in `validate ./bundle 1.36`")
		os.Exit(2)
	}
	failed, err := validate(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Printf("error format %v\n", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// validate prints what the validators say of the bundle in a folder, and whether one of them refuses it.
func validate(folder, kubernetes string) (bool, error) {
	logger := logrus.New()
	logger.SetLevel(logrus.PanicLevel)
	// Neither the format nor the content takes a registry.
	format := bundle.NewImageValidator(nil, logrus.NewEntry(logger))
	if err := format.ValidateBundleFormat(folder); err != nil {
		return true, err
	}
	failed := false
	if err := format.ValidateBundleContent(folder + "/manifests"); err != nil {
		fmt.Printf("error content %v\n", err)
		failed = true
	}
	loaded, err := manifests.GetBundleFromDir(folder)
	if err != nil {
		return true, err
	}
	objects := loaded.ObjectsToValidate()
	values := map[string]string{"k8s-version": kubernetes, "index-path": folder + "/bundle.Dockerfile"}
	objects = append(objects, values)
	for _, one := range validators {
		for _, result := range one.validator.Validate(objects...) {
			report("error", one.name, result.Name, result.Errors)
			report("warning", one.name, result.Name, result.Warnings)
			failed = failed || result.HasError()
		}
	}
	return failed, nil
}

func report(level, validator, object string, faults []errors.Error) {
	for _, fault := range faults {
		fmt.Printf("%s %s %s: %s\n", level, validator, object, fault.Detail)
	}
}
